/* test_tiny.c -- the small VL checkpoint of models/: what it does not touch, and that a
 * video of one picture is that picture. That it reads is in tests/cli/check_media.sh.
 * usage: test_tiny MODEL_DIR WORK_DIR
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <sys/mman.h>
#endif

#include "platforms/platform.h"
#include "runtime/session.h"

enum { PATH_BYTES = 1024 };

struct place {
    const char *model_dir, *work_dir;
};

static void file_path(char path[PATH_BYTES], const struct place *p)
{
    snprintf(path, PATH_BYTES, "%s/tiny.erne", p->work_dir);
}

static void test_convert(void **state)
{
    const struct place *p = *state;
    char path[PATH_BYTES];
    struct erne_error err = { 0 };
    struct erne_convert_opts opts = erne_convert_opts_default();

    file_path(path, p);
    opts.src = p->model_dir;
    opts.dst = path;
    opts.scheme = "source";
    opts.overwrite = true;
    if (erne_convert(&opts, &err) != 0)
        fail_msg("%s", err.text);
}

/* NULL: not in this build. */
static struct erne_engine *engine_open(const struct place *p, const char *backend,
                                       const char *isa)
{
    char path[PATH_BYTES];
    struct erne_error err = { 0 };
    struct erne_engine *engine = NULL;
    struct erne_engine_opts opts = erne_engine_opts_default();

    file_path(path, p);
    opts.backend = backend;
    opts.isa = isa;
    opts.n_threads = 2;
    if (erne_engine_open(&engine, path, &opts, &err) != 0)
        assert_int_equal(err.status, ERNE_EUNSUPPORTED);
    return engine;
}

static struct erne_session *session_create(struct erne_engine *engine)
{
    struct erne_session *session = NULL;
    struct erne_session_opts opts = erne_session_opts_default();
    struct erne_error err = { 0 };

    opts.n_ctx = 128;
    assert_int_equal(erne_session_create(&session, engine, &opts, &err), 0);
    return session;
}

/* Every digit is a token. */
static void test_digits(void **state)
{
    struct erne_engine *engine = engine_open(*state, "reference", "auto");
    struct erne_error err = { 0 };
    int32_t ids[4];
    size_t n = 0;

    assert_non_null(engine);
    assert_int_equal(erne_tokenize(engine, "12", 2, false, ids, 4, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_not_equal(ids[0], ids[1]);
    erne_engine_close(&engine);
}

#if !defined(_WIN32)
/* Makes reading the vision experts of a layer fatal, as far as they fill whole pages;
 * answers how many bytes that are. */
static size_t lock_experts(const struct erne_engine *engine, int layer)
{
    const struct erne_moe_desc *moe = &engine->file.desc.moe;
    const uintptr_t page = pf_page_size();
    const struct erne_file_tensor *last;
    char name[ERNE_SPEC_NAME_MAX];
    uintptr_t begin, end;

    snprintf(name, sizeof name, "layers.%d.experts.%d.gate_up", layer, moe->n_experts);
    begin = (uintptr_t)erne_model_file_data(
        erne_model_file_find(&engine->file, name));
    snprintf(name, sizeof name, "layers.%d.experts.%d.down", layer,
             2 * moe->n_experts - 1);
    last = erne_model_file_find(&engine->file, name);
    end = (uintptr_t)erne_model_file_data(last) + last->n_bytes;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    assert_true(begin < end);
    assert_int_equal(mprotect((void *)begin, end - begin, PROT_NONE), 0);
    return end - begin;
}

/* Text does not touch the experts of pictures: the program would end. */
static void test_untouched(void **state)
{
    static const char *const machines[][2] = {
        { "reference", "auto" }, { "cpu", "c" }, { "cpu", "avx2" }, { "cpu", "avx512" }
    };
    static const char text[] = "the options of this command are read from a file 123";

    for (size_t i = 0; i < ERNE_ARRAY_LEN(machines); i++) {
        struct erne_engine *engine = engine_open(*state, machines[i][0], machines[i][1]);
        struct erne_session *session;
        struct erne_error err = { 0 };
        int32_t ids[64], id;
        size_t n = 0, n_locked = 0;

        if (!engine)
            continue;
        for (int layer = 0; layer < engine->file.desc.n_layers; layer++)
            if (erne_layer_is_moe(&engine->file.desc, layer))
                n_locked += lock_experts(engine, layer);
        assert_true(n_locked > (1 << 20));
        session = session_create(engine);
        assert_int_equal(
            erne_tokenize(engine, text, strlen(text), false, ids, 64, &n, &err), 0);
        assert_int_equal(erne_session_eval(session, ids, n, NULL, &err), 0);
        for (int t = 0; t < 8; t++) {
            assert_int_equal(erne_session_sample(session, &id, &err), 0);
            assert_int_equal(erne_session_eval(session, &id, 1, NULL, &err), 0);
        }
        erne_session_destroy(&session);
        erne_engine_close(&engine);
    }
}
#endif

static void copy_file(const char *dir, const char *name, const char *from)
{
    char path[PATH_BYTES];
    uint8_t data[1 << 14];
    FILE *in = fopen(from, "rb"), *out;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    out = fopen(path, "wb");
    assert_non_null(in);
    assert_non_null(out);
    n = fread(data, 1, sizeof data, in);
    assert_int_equal(fwrite(data, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* Two frames that are the same become what the picture becomes. */
static void test_still_video(void **state)
{
    const struct place *p = *state;
    struct erne_engine *engine = engine_open(p, "reference", "auto");
    struct erne_session *session = session_create(engine);
    const struct erne_session_media *media = &session->media;
    struct erne_media *picture = NULL, *video = NULL;
    struct erne_error err = { 0 };
    char path[PATH_BYTES], dir[PATH_BYTES];
    size_t n_bytes;

    snprintf(path, sizeof path, "%s/pictures/002.png", p->model_dir);
    snprintf(dir, sizeof dir, "%s/still", p->work_dir);
    copy_file(dir, "1.png", path);
    copy_file(dir, "2.png", path);
    if (erne_media_open_image(&picture, path, &err) == ERNE_EUNSUPPORTED) {
        erne_session_destroy(&session);
        erne_engine_close(&engine);
        skip(); /* a build without PNG */
    }
    assert_int_equal(erne_media_open_frames(&video, dir, &err), 0);
    assert_int_equal(erne_session_add_media(session, picture, &err), 0);
    assert_int_equal(erne_session_add_media(session, video, &err), 0);
    assert_int_equal(media->n_spans, 2);
    assert_memory_equal(&media->spans[0], &media->spans[1], sizeof media->spans[0]);
    n_bytes =
        (size_t)media->n_features / 2 * (size_t)engine->file.desc.n_embd * sizeof(float);
    assert_memory_equal(media->features, (const uint8_t *)media->features + n_bytes,
                        n_bytes);
    erne_media_close(&picture);
    erne_media_close(&video);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

/* Rewinds inside a picture are refused, text inside one too; both leave all as it was. */
static void test_inside(void **state)
{
    const struct place *p = *state;
    struct erne_engine *engine = engine_open(p, "reference", "auto");
    struct erne_session *session = session_create(engine);
    const int32_t image = engine->file.desc.vision.image_token;
    struct erne_media *picture = NULL;
    struct erne_error err = { 0 };
    int32_t ids[14];
    char path[PATH_BYTES];
    int n = 0;

    snprintf(path, sizeof path, "%s/pictures/002.png", p->model_dir);
    if (erne_media_open_image(&picture, path, &err) == 0) {
        assert_int_equal(erne_media_n_tokens(engine, picture, &n, &err), 0);
        assert_int_equal(n, 12);
        for (int i = 0; i < 14; i++)
            ids[i] = i < 13 && i > 0 ? image : 100;
        assert_int_equal(erne_session_add_media(session, picture, &err), 0);
        assert_int_equal(erne_session_eval(session, ids, 5, NULL, &err), 0);
        assert_int_equal(erne_session_eval(session, ids, 1, NULL, &err), ERNE_EINVAL);
        assert_non_null(strstr(err.text, "takes 12 tokens, but only 4"));
        assert_int_equal(erne_session_n_past(session), 5);
        assert_int_equal(erne_session_eval(session, ids + 5, 9, NULL, &err), 0);
        assert_int_equal(erne_session_rewind(session, 6, &err), ERNE_EINVAL);
        assert_non_null(strstr(err.text, "inside a picture"));
        assert_int_equal(erne_session_n_past(session), 14);
        assert_int_equal(erne_session_rewind(session, 1, &err), 0);
        /* A cancelled picture is not there, the next one is. */
        erne_session_cancel(session);
        assert_int_equal(erne_session_add_media(session, picture, &err), ERNE_ECANCELLED);
        assert_int_equal(session->media.n_spans, 0);
        assert_int_equal(erne_session_add_media(session, picture, &err), 0);
        assert_int_equal(erne_session_eval(session, ids + 1, 13, NULL, &err), 0);
    }
    erne_media_close(&picture);
    erne_session_destroy(&session);
    erne_engine_close(&engine);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL_DIR WORK_DIR\n", argv[0]);
        return 2;
    }
    struct place p = { argv[1], argv[2] };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_convert, &p),
        cmocka_unit_test_prestate(test_digits, &p),
#if !defined(_WIN32)
        cmocka_unit_test_prestate(test_untouched, &p),
#endif
        cmocka_unit_test_prestate(test_still_video, &p),
        cmocka_unit_test_prestate(test_inside, &p),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
