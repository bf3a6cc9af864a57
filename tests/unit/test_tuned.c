/* test_tuned.c -- a placement that was kept comes back as it was, only where it was
 * found, and only if it is whole.
 */
#include "tests/support/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "backends/reference/ref_backend.h"
#include "platforms/platform.h"
#include "runtime/cache_file.h"
#include "runtime/tuned.h"
#include "tests/support/shadow.h"

#define CACHE "test_tuned.cache"

static void make_tuned(struct erne_tuned *tuned)
{
    *tuned = (struct erne_tuned){ .n_devices = 2, .n_samples = 5 };
    tuned->devices[0] = (struct erne_choice){ &erne_backend_shadow, 0 };
    tuned->devices[1] = (struct erne_choice){ &erne_backend_reference, 0 };
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        tuned->of[kind] = tuned->devices[kind == ERNE_PHASE_DECODE];
        snprintf(tuned->why[kind], sizeof(tuned->why[kind]), "because %d", kind);
    }
}

/* Of a model of no bytes, for a host of that many threads. */
static struct erne_tuned_key key_of(int n_threads)
{
    const struct erne_model_file file = { 0 };
    struct erne_engine_opts opts = erne_engine_opts_default();

    opts.n_threads = n_threads;
    return erne_tuned_key_of(&opts, &file);
}

/* Where it is kept. */
static void name_kept(char name[64])
{
    const struct erne_tuned_key key = key_of(2);

    snprintf(name, 64, "tune-%016" PRIx64 ".txt",
             XXH3_64bits(key.text, strlen(key.text)));
}

static int read_kept(char text[4096], char name[64])
{
    name_kept(name);
    return erne_cache_load(CACHE, name, text, 4096);
}

static bool load(struct erne_tuned *tuned, char why_not[ERNE_TUNED_WHY])
{
    const struct erne_tuned_key key = key_of(2);

    return erne_tuned_load(tuned, CACHE, shadow_backends, &key, why_not);
}

static void kept_comes_back(void **state)
{
    const struct erne_tuned_key key = key_of(2), other = key_of(3);
    struct erne_tuned tuned, back = { .n_devices = 0 };
    struct erne_error err = { 0 };
    char why_not[ERNE_TUNED_WHY], text[128], name[64], path[128];

    (void)state;
    name_kept(name);
    snprintf(path, sizeof(path), CACHE "/%s", name);
    pf_path_remove(path);
    assert_false(load(&back, why_not));
    assert_string_equal(why_not, "");
    make_tuned(&tuned);
    snprintf(tuned.disturbed, sizeof(tuned.disturbed), "others were busy");
    assert_int_equal(erne_tuned_save(CACHE, &tuned, &key, &err), 0);
    assert_false(erne_tuned_load(&back, CACHE, shadow_backends, &other, why_not));
    assert_string_equal(why_not, "");
    assert_true(load(&back, why_not));
    assert_int_equal(back.n_samples, 5);
    assert_string_equal(back.disturbed, "others were busy");
    assert_int_equal(back.n_devices, tuned.n_devices);
    for (int i = 0; i < tuned.n_devices; i++)
        assert_ptr_equal(back.devices[i].fns, tuned.devices[i].fns);
    for (int kind = 0; kind < ERNE_PHASE_COUNT; kind++) {
        assert_ptr_equal(back.of[kind].fns, tuned.of[kind].fns);
        assert_string_equal(back.why[kind], tuned.why[kind]);
    }
    erne_tuned_text(&back, 1u << ERNE_PHASE_DECODE | 1u << ERNE_PHASE_VISION, text,
                    sizeof(text));
    assert_string_equal(
        text, "because 2; because 0; measured on a busy machine: others were busy");
    erne_tuned_text(&back, 0, text, sizeof(text));
    assert_string_equal(text, "");
    erne_tuned_text(&back, ~0u, text, 12); /* is cut */
    assert_string_equal(text, "because 2; ");
    assert_int_equal(erne_tuned_save("/dev/null/none", &tuned, &key, &err), ERNE_EIO);
}

/* What else than the model a placement is kept for: each has a file of its own. */
static void keys_differ(void **state)
{
    const struct erne_model_file file = { 0 };
    struct erne_engine_opts opts = erne_engine_opts_default(), all;
    struct erne_tuned_key keys[4];

    (void)state;
    keys[0] = erne_tuned_key_of(&opts, &file);
    opts.n_threads = 77;
    keys[1] = erne_tuned_key_of(&opts, &file);
    opts.isa = "c";
    keys[2] = erne_tuned_key_of(&opts, &file);
    opts.ram_bytes = 1 << 30;
    keys[3] = erne_tuned_key_of(&opts, &file);
    for (int i = 0; i < 3; i++)
        assert_string_not_equal(keys[i].text, keys[i + 1].text);
    all = erne_engine_opts_default();
    all.n_threads = pf_cpu_count(); /* what 0 stands for */
    keys[1] = erne_tuned_key_of(&all, &file);
    assert_string_equal(keys[0].text, keys[1].text);
}

/* A quiet machine comes first, then the number of samples. */
static void better_measured(void **state)
{
    static const struct {
        int kept_samples, found_samples;
        bool kept_disturbed, found_disturbed;
        const char *why;
    } cases[] = {
        { 5, 5, false, false, "" },
        { 5, 7, false, false, "" },
        { 7, 5, false, false, "it is of 7 samples, not of 5" },
        { 5, 7, false, true, "it was measured undisturbed" },
        { 7, 5, true, false, "" },
        { 7, 5, true, true, "it is of 7 samples" },
        { 0, 1, false, true, "" }, /* a first start that was not finished */
    };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(cases); i++) {
        struct erne_tuned kept, found;
        char why[64];

        make_tuned(&kept);
        make_tuned(&found);
        kept.n_samples = cases[i].kept_samples;
        found.n_samples = cases[i].found_samples;
        snprintf(kept.disturbed, sizeof(kept.disturbed), "%s",
                 cases[i].kept_disturbed ? "x" : "");
        snprintf(found.disturbed, sizeof(found.disturbed), "%s",
                 cases[i].found_disturbed ? "x" : "");
        assert_int_equal(erne_tuned_is_better(&kept, &found, why, sizeof(why)),
                         *cases[i].why != '\0');
        assert_non_null(strstr(why, cases[i].why));
    }
}

/* Cut anywhere, or with any byte changed, it is not believed. */
static void damaged(void **state)
{
    struct erne_tuned back = { .n_devices = 77 };
    struct erne_error err = { 0 };
    char text[4096], name[64], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);

    (void)state;
    assert_true(n > 100);
    for (int i = 0; i < n; i++) {
        assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)i, &err), 0);
        assert_false(load(&back, why_not));
        assert_string_equal(why_not, "it is damaged");
        text[i] ^= 4;
        assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)n, &err), 0);
        assert_false(load(&back, why_not));
        text[i] ^= 4;
    }
    assert_int_equal(back.n_devices, 77);
    assert_int_equal(erne_cache_save(CACHE, name, text, (size_t)n, &err), 0);
    assert_true(load(&back, why_not));
}

/* Several write the same file, each a text of its own length: nobody fails, and whoever
 * looks sees one of the texts as a whole. */
struct writer {
    char letter;
    bool failed;
};

static void write_often(void *arg)
{
    struct writer *w = arg;
    char text[600], seen[600];

    memset(text, w->letter, sizeof(text));
    for (int i = 0; i < 100; i++) {
        const size_t n = (size_t)(w->letter - 'a' + 1) * 100;
        int n_seen;

        w->failed |= erne_cache_save(CACHE, "shared.txt", text, n, NULL) < 0;
        n_seen = erne_cache_load(CACHE, "shared.txt", seen, sizeof(seen));
        w->failed |= n_seen <= 0 || n_seen != (seen[0] - 'a' + 1) * 100 ||
                     memcmp(seen, seen + 1, (size_t)n_seen - 1) != 0;
    }
}

static void many_writers(void **state)
{
    struct writer writers[] = { { 'a', false }, { 'b', false }, { 'c', false } };
    struct pf_thread *threads[3];
    char **names;
    size_t n_names;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pf_thread_create(&threads[i], write_often, &writers[i]), 0);
    for (int i = 0; i < 3; i++)
        pf_thread_join(&threads[i]);
    for (int i = 0; i < 3; i++)
        assert_false(writers[i].failed);
    assert_int_equal(pf_path_remove(CACHE "/shared.txt"), 0);
    assert_int_equal(pf_dir_list(CACHE, &names, &n_names), 0);
    for (size_t i = 0; i < n_names; i++)
        assert_null(strstr(names[i], "shared.txt")); /* nothing half done is left */
    pf_dir_free(names, n_names);
}

/* Writes text with a right hash at its end, and tries to load it. */
static bool load_sealed(const char *text, size_t n, const char *name,
                        char why_not[ERNE_TUNED_WHY])
{
    struct erne_tuned back = { .n_devices = 0 };
    struct erne_error err = { 0 };
    char sealed[8192];

    memcpy(sealed, text, n);
    n += (size_t)snprintf(sealed + n, sizeof(sealed) - n, "end: %016" PRIx64 "\n",
                          XXH3_64bits(sealed, n));
    assert_int_equal(erne_cache_save(CACHE, name, sealed, n, &err), 0);
    return load(&back, why_not);
}

/* What was whole, but is of something else. */
static void stale(void **state)
{
    static const struct {
        const char *from, *to, *why;
    } changes[] = {
        { "erne tune 2", "erne tune 1", "another model" },
        { "host: 2", "host: 3", "another model" },
        { "samples: ", "samples: x", "how it was measured" },
        { "samples: 5", "samples: 55555", "how it was measured" },
        { "disturbed:", "disturbed", "how it was measured" },
        { "build: ", "build: 0.0.1 ", "another build" },
        { "shadow 1", "shadow 2", "shadow:0 is another device or has another driver" },
        { "shadow-0", "shadow-9", "shadow:0 is another device or has another driver" },
        { "shadow:0", "shadow:7", "shadow:0 was not looked at" },
        { "shadow:0", "vulkan:0", "the build lacks" },
        { "decode: ", "decode; ", "does not say" },
        { "vision: shadow:", "vision: shadow:x", "does not say" },
    };
    char text[4096], name[64], changed[4200], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);

    (void)state;
    assert_true(n > 22);
    text[n - 22] = '\0'; /* without its hash */
    assert_true(load_sealed(text, strlen(text), name, why_not));
    for (size_t i = 0; i < ERNE_ARRAY_LEN(changes); i++) {
        const char *at = strstr(text, changes[i].from);

        assert_non_null(at);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text,
                 changes[i].to, at + strlen(changes[i].from));
        assert_false(load_sealed(changed, strlen(changed), name, why_not));
        assert_non_null(strstr(why_not, changes[i].why));
    }
    for (size_t cut = 0; cut < strlen(text); cut++)
        assert_false(load_sealed(text, cut, name, why_not));
}

/* Whatever stands there, nothing breaks. */
static void mangled(void **state)
{
    char text[4096], name[64], why_not[ERNE_TUNED_WHY];
    const int n = read_kept(text, name);
    uint64_t rng = 5;

    (void)state;
    assert_true(n >= 22);
    for (int i = 0; i < 300; i++) {
        char other[4096];
        const size_t n_other = (size_t)(n - 22);

        memcpy(other, text, n_other);
        for (int k = 0; k < 3; k++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            other[(rng >> 33) % n_other] = (char)(rng >> 20);
        }
        load_sealed(other, n_other, name, why_not);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_comes_back), cmocka_unit_test(keys_differ),
        cmocka_unit_test(better_measured), cmocka_unit_test(damaged),
        cmocka_unit_test(many_writers),    cmocka_unit_test(stale),
        cmocka_unit_test(mangled),
    };

    return cmocka_run_group_tests_name("tuned", tests, NULL, NULL);
}
