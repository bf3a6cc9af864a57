/* encode_media.c -- encodes a picture on demand for benchmarks/vision_table.py.
 *
 *     encode_media MODEL.erne PICTURE THREADS
 *
 * First come the most that the machine does, in operations a second: "limits BF16 INT8".
 * Then every line of stdin is answered by the seconds that one encoding took, which is
 * what `erne bench --image-size` counts, and those of all its threads' work. A line that
 * names a file has the features written there, f32 [tokens, n_embd]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "platforms/platform.h"
#include "runtime/encoder.h"
#include "runtime/include/erne_measure.h"

struct job {
    struct erne_engine *engine;
    struct erne_media *media;
    struct erne_encoder encoder;
    struct erne_span span;
    float *features;
};

static int begin(struct job *j, char **argv, struct erne_error *err)
{
    struct erne_engine_opts opts = erne_engine_opts_default();
    struct erne_limits limits = { 0 };

    opts.n_threads = atoi(argv[3]);
    opts.backend = "cpu";
    ERNE_TRY(erne_engine_open(&j->engine, argv[1], &opts, err));
    ERNE_TRY(erne_engine_limits(j->engine, &limits, err));
    printf("limits %.0f %.0f\n", limits.bf16_ops, limits.i8_ops);
    fflush(stdout);
    ERNE_TRY(erne_media_open_image(&j->media, argv[2], err));
    ERNE_TRY(erne_encoder_span(&j->engine->file.desc, j->media, &j->span, err));
    j->features = calloc((size_t)erne_span_tokens(&j->span),
                         (size_t)j->engine->file.desc.n_embd * sizeof(float));
    if (!j->features)
        return erne_fail(err, ERNE_ENOMEM, "no memory for the features");
    return erne_encoder_init(&j->encoder, j->engine, err);
}

static int write_features(const struct job *j, const char *path, struct erne_error *err)
{
    const size_t n =
        (size_t)erne_span_tokens(&j->span) * (size_t)j->engine->file.desc.n_embd;
    FILE *out = fopen(path, "wb");

    if (!out || fwrite(j->features, sizeof(float), n, out) != n || fclose(out) != 0)
        return erne_fail(err, ERNE_EIO, "%s cannot be written", path);
    return ERNE_OK;
}

static int answer(struct job *j, char *line, struct erne_error *err)
{
    const uint64_t start = pf_time_ns();
    const clock_t work = clock();

    ERNE_TRY(erne_encoder_encode(&j->encoder, j->media, j->features, NULL, err));
    printf("%.6f %.6f\n", (double)(pf_time_ns() - start) * 1e-9,
           (double)(clock() - work) / CLOCKS_PER_SEC);
    fflush(stdout);
    line[strcspn(line, "\n")] = '\0';
    return *line ? write_features(j, line, err) : ERNE_OK;
}

int main(int argc, char **argv)
{
    struct job j = { 0 };
    struct erne_error err = { 0 };
    char line[1024];
    int st;

    if (argc != 4)
        return 2;
    st = begin(&j, argv, &err);
    while (st == ERNE_OK && fgets(line, sizeof(line), stdin))
        st = answer(&j, line, &err);
    if (st < 0)
        fprintf(stderr, "encode_media: %s\n", err.text);
    if (j.encoder.engine)
        erne_encoder_deinit(&j.encoder);
    free(j.features);
    erne_media_close(&j.media);
    erne_engine_close(&j.engine);
    return st < 0;
}
