/* test_media.c -- pictures from files to patches, compared with Pillow and transformers
 * (tests/unit/data/media/golden.txt by tests/oracle/make_media.py, which explains it),
 * hostile files, and failing allocations. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platforms/platform.h"
#include "runtime/media/media.h"
#include "tests/support/alloc_fail.h"

#define DATA ERNE_TEST_DATA "/media/"

/* ------------------------------------------------------------------ golden */

struct golden {
    char kind[16], name[40]; /* name: of a file or a family */
    int n[4], n_numbers;
    uint32_t crc;
};

/* The next line of a kind; false at the end. */
static bool golden_next(FILE *file, const char *kind, struct golden *g)
{
    char line[200];

    while (fgets(line, sizeof(line), file)) {
        const bool named = strncmp(line, "resize", 6) != 0;
        const bool hashed = strncmp(line, "size", 4) != 0;
        char *field = strtok(line, " \n"), *fields[8] = { NULL };
        int n = 0;

        for (; field && n < 8; field = strtok(NULL, " \n"))
            fields[n++] = field;
        if (n == 0 || strcmp(fields[0], kind) != 0)
            continue;
        memset(g, 0, sizeof(*g));
        if (named)
            snprintf(g->name, sizeof(g->name), "%s", fields[1]);
        for (int i = named ? 2 : 1; i < n - hashed; i++)
            g->n[g->n_numbers++] = (int)strtol(fields[i], NULL, 10);
        if (hashed)
            g->crc = (uint32_t)strtoul(fields[n - 1], NULL, 16);
        return true;
    }
    return false;
}

static FILE *golden_open(void)
{
    FILE *file = fopen(DATA "golden.txt", "r");

    assert_non_null(file);
    return file;
}

/* zlib's. */
static uint32_t crc32_of(const void *data, size_t n_bytes)
{
    uint32_t table[256], crc = UINT32_MAX;
    const uint8_t *p = data;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = (table[i] & 1) != 0 ? 0xedb88320 ^ table[i] >> 1 : table[i] >> 1;
    }
    for (size_t i = 0; i < n_bytes; i++)
        crc = table[(crc ^ p[i]) & 255] ^ crc >> 8;
    return ~crc;
}

static size_t image_bytes(const struct media_image *image)
{
    return (size_t)image->width * (size_t)image->height * 3;
}

/* Squares of noise and of ramps, as paint() of the oracle. */
static struct media_image paint(int width, int height)
{
    struct media_image image = { NULL, width, height };
    uint8_t *p = malloc(image_bytes(&image));

    assert_non_null(p);
    image.rgb = p;
    for (uint32_t y = 0; y < (uint32_t)height; y++)
        for (uint32_t x = 0; x < (uint32_t)width; x++)
            for (uint32_t c = 0; c < 3; c++) {
                uint32_t noise = x * 2654435761u ^ y * 2246822519u ^ c * 3266489917u;

                noise = (noise ^ noise >> 15) * 2654435761u >> 24;
                *p++ = (uint8_t)(((x >> 4 ^ y >> 4) & 1) != 0
                                     ? noise
                                     : (x * 3 + y * 5 + c * 160) >> 2);
            }
    return image;
}

static struct media_spec spec_of(const char *family)
{
    struct media_spec spec = {
        .patch = 14,
        .merge = 2,
        .temporal = 2,
        .min_pixels = 3136,
        .max_pixels = 28 * 28 * 6177,
        .video_min_pixels = 299 * 784,
        .video_max_pixels = 1196 * 784,
        .mean = { 0.48145466f, 0.4578275f, 0.40821073f },
        .std = { 0.26862954f, 0.26130258f, 0.27577711f },
    };

    if (strcmp(family, "paddle") == 0) {
        spec.min_pixels = 147384;
        spec.max_pixels = 2822400;
        spec.enlarge_small = true;
        for (int c = 0; c < 3; c++)
            spec.mean[c] = spec.std[c] = 0.5f;
    }
    return spec;
}

/* ---------------------------------------------------------------- decoding */

struct bytes {
    uint8_t *data;
    size_t n;
};

static struct bytes load(const char *name)
{
    char path[300];
    struct pf_file *file = NULL;
    struct bytes bytes;
    uint64_t n = 0;

    snprintf(path, sizeof(path), DATA "%s", name);
    assert_int_equal(pf_file_open(&file, path, PF_READ), 0);
    assert_int_equal(pf_file_size(file, &n), 0);
    bytes.n = (size_t)n;
    bytes.data = malloc(bytes.n);
    assert_non_null(bytes.data);
    assert_int_equal(pf_file_read_at(file, bytes.data, bytes.n, 0), 0);
    pf_file_close(&file);
    return bytes;
}

/* Of exactly n bytes, so that AddressSanitizer sees who reads behind them. */
static int decode(struct media_image *image, const uint8_t *data, size_t n,
                  struct erne_error *err)
{
    uint8_t *copy = malloc(n + (n == 0));
    struct media_input in = { copy, n, 1 << 20 };
    int st;

    assert_non_null(copy);
    memcpy(copy, data, n);
    st = media_decode(image, &in, err);
    free(copy);
    return st;
}

static bool build_has(const char *format)
{
    return strstr(erne_build_info(), format) != NULL;
}

static bool build_reads(const char *name)
{
    return build_has(strstr(name, "png") ? "png" : strstr(name, "jpg") ? "jpeg" : "webp");
}

static void test_files(void **state)
{
    FILE *file = golden_open();
    struct golden g;
    int n = 0;

    (void)state;
    for (; golden_next(file, "file", &g); n++) {
        struct erne_error err = { 0 };
        struct media_image image = { 0 };
        const struct bytes bytes = load(g.name);
        const int st = decode(&image, bytes.data, bytes.n, &err);

        free(bytes.data);
        if (!build_reads(g.name)) {
            assert_int_equal(st, ERNE_EUNSUPPORTED);
            continue;
        }
        if (st < 0 || image.width != g.n[0] || image.height != g.n[1] ||
            crc32_of(image.rgb, image_bytes(&image)) != g.crc)
            fail_msg("%s: %d %s, %d x %d", g.name, st, err.text, image.width,
                     image.height);
        media_image_deinit(&image);
    }
    fclose(file);
    assert_int_equal(n, 71);
}

/* Every file cut short at every length, and with every byte changed: no crash, no leak,
 * and always a reason. */
static void try_damaged(const char *name)
{
    struct bytes bytes = load(name);

    for (size_t i = 0; i < 2 * bytes.n; i++) {
        struct erne_error err = { 0 };
        struct media_image image = { 0 };
        const size_t n = i < bytes.n ? i : bytes.n;
        uint8_t *change = i < bytes.n ? NULL : &bytes.data[i - bytes.n];
        int st;

        if (change)
            *change ^= 0x55;
        st = decode(&image, bytes.data, n, &err);
        if (change)
            *change ^= 0x55;
        if (st == ERNE_OK)
            assert_non_null(image.rgb);
        else
            assert_true(err.status == st && err.text[0] != '\0' && !image.rgb);
        media_image_deinit(&image);
    }
    free(bytes.data);
}

static void test_damaged(void **state)
{
    (void)state;
    try_damaged("rgb_420.jpg");
    try_damaged("cmyk.jpg");
    try_damaged("exif6.jpg");
    try_damaged("c3d4i1.png");
    try_damaged("c0d16i1.png");
    try_damaged("exif_raw.png");
    try_damaged("alpha.webp");
    try_damaged("animated_inside.webp");
}

static void expect_refused(const uint8_t *data, size_t n, int status, const char *text)
{
    struct erne_error err = { 0 };
    struct media_image image = { 0 };

    assert_int_equal(decode(&image, data, n, &err), status);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void test_refused(void **state)
{
    static const uint8_t gif[] = "GIF89a", nonsense[] = "not a picture at all";
    struct bytes png = load("c2d8i0.png"), jpeg = load("rgb_420.jpg");

    (void)state;
    expect_refused(gif, 0, ERNE_EFORMAT, "empty");
    expect_refused(gif, 6, ERNE_EUNSUPPORTED, "cannot read GIF");
    expect_refused(nonsense, sizeof(nonsense), ERNE_EFORMAT, "neither JPEG");
    if (build_has("png")) {
        expect_refused(png.data, png.n - 30, ERNE_EFORMAT, "cut short");
        memcpy(png.data + 16, "\0\xff\xff\xff\0\xff\xff\xff", 8);
        expect_refused(png.data, png.n, ERNE_EFORMAT, "PNG"); /* its checksum is wrong */
    }
    if (build_has("jpeg")) {
        expect_refused(jpeg.data, jpeg.n - 30, ERNE_EFORMAT, "cut short");
        for (size_t i = 0; i + 9 < jpeg.n; i++)
            if (jpeg.data[i] == 0xff && jpeg.data[i + 1] == 0xc0)
                memset(jpeg.data + i + 5, 0xff, 4);
        expect_refused(jpeg.data, jpeg.n, ERNE_EFORMAT, "JPEG");
    }
    free(png.data);
    free(jpeg.data);
}

static void test_too_large(void **state)
{
    static const char *const names[] = { "c2d8i0.png", "rgb_420.jpg", "lossy.webp" };

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(names); i++) {
        const struct bytes bytes = load(names[i]);
        const struct media_input in = { bytes.data, bytes.n, 100 };
        struct media_image image = { 0 };
        struct erne_error err = { 0 };

        if (build_reads(names[i])) {
            assert_int_equal(media_decode(&image, &in, &err), ERNE_EFORMAT);
            assert_non_null(strstr(err.text, "at most 100"));
        }
        free(bytes.data);
    }
}

/* ----------------------------------------------------------------- resizing */

static void test_sizes(void **state)
{
    FILE *file = golden_open();
    struct golden g;
    int n = 0;

    (void)state;
    for (; golden_next(file, "size", &g); n++) {
        const struct media_spec spec = spec_of(g.name);
        struct erne_error err = { 0 };
        int w = g.n[0], h = g.n[1];
        const int st =
            media_smart_resize(&spec, strcmp(g.name, "video") == 0, &w, &h, &err);

        if (g.n[2] == 0) {
            assert_int_equal(st, ERNE_EINVAL);
            assert_non_null(strstr(err.text, "200 times"));
        } else if (st < 0 || w != g.n[2] || h != g.n[3]) {
            fail_msg("%s %d x %d: %d x %d", g.name, g.n[0], g.n[1], w, h);
        }
    }
    fclose(file);
    assert_int_equal(n, 96);
}

static void test_bad_spec(void **state)
{
    struct media_spec spec = spec_of("ernie");
    int w = 100, h = 100;

    (void)state;
    spec.patch = 0;
    assert_int_equal(media_smart_resize(&spec, false, &w, &h, NULL), ERNE_EINVAL);
    spec = spec_of("ernie");
    spec.max_pixels = INT64_MAX;
    assert_int_equal(media_smart_resize(&spec, false, &w, &h, NULL), ERNE_EINVAL);
    assert_int_equal(media_smart_resize(&spec, true, &w, &h, NULL), ERNE_OK);
    spec.video_min_pixels = spec.video_max_pixels + 1;
    assert_int_equal(media_smart_resize(&spec, true, &w, &h, NULL), ERNE_EINVAL);
}

static void test_resize(void **state)
{
    FILE *file = golden_open();
    struct golden g;
    int n = 0;

    (void)state;
    for (; golden_next(file, "resize", &g); n++) {
        struct media_image src = paint(g.n[0], g.n[1]), out = { 0 };

        assert_int_equal(media_resize(&out, &src, g.n[2], g.n[3], NULL), 0);
        assert_int_equal(out.width, g.n[2]);
        assert_int_equal(out.height, g.n[3]);
        if (crc32_of(out.rgb, image_bytes(&out)) != g.crc)
            fail_msg("%d x %d to %d x %d", g.n[0], g.n[1], g.n[2], g.n[3]);
        media_image_deinit(&src);
        media_image_deinit(&out);
    }
    fclose(file);
    assert_int_equal(n, 22);
}

/* ------------------------------------------------------------------ patches */

static void test_patches(void **state)
{
    FILE *file = golden_open();
    struct golden g;
    int n = 0;

    (void)state;
    for (; golden_next(file, "patches", &g); n++) {
        const struct media_spec spec = spec_of(g.name);
        struct media_image src = paint(g.n[0], g.n[1]), out = { 0 };
        const size_t n_values = (size_t)g.n[2] * 3 * 14 * 14;
        float *values = malloc(n_values * sizeof(*values));
        int w = g.n[0], h = g.n[1];

        assert_non_null(values);
        assert_int_equal(
            media_smart_resize(&spec, strcmp(g.name, "video") == 0, &w, &h, NULL), 0);
        assert_int_equal(w / 14 * (h / 14), g.n[2]);
        assert_int_equal(media_resize(&out, &src, w, h, NULL), 0);
        media_cut(values, &out, &spec);
        if (crc32_of(values, n_values * sizeof(*values)) != g.crc)
            fail_msg("%s %d x %d", g.name, g.n[0], g.n[1]);
        free(values);
        media_image_deinit(&src);
        media_image_deinit(&out);
    }
    fclose(file);
    assert_int_equal(n, 9);
}

/* Which frame or patch is where: a grid of 4 x 4, each patch of one value. */
static void test_order(void **state)
{
    static const int rows[16] = { 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15 };
    const struct media_spec spec = { .patch = 14, .merge = 2, .std = { 1, 1, 1 } };
    static float values[16][3 * 14 * 14];
    static uint8_t rgb[56 * 56 * 3];
    const struct media_image image = { rgb, 56, 56 };

    (void)state;
    for (int i = 0; i < 56 * 56 * 3; i++)
        rgb[i] = (uint8_t)(i / 3 / 56 / 14 * 4 + i / 3 % 56 / 14);
    media_cut(values[0], &image, &spec);
    for (int i = 0; i < 16; i++)
        assert_int_equal((int)(values[i][300] * 255 + 0.5f), rows[i]);
}

/* ------------------------------------------------------------ opened by path */

static void test_image(void **state)
{
    const struct media_spec spec = spec_of("ernie");
    struct erne_media *media = NULL;
    struct erne_error err = { 0 };
    struct media_grid grid;

    (void)state;
    if (!build_has("jpeg"))
        skip();
    assert_int_equal(erne_media_open_image(&media, DATA "exif6.jpg", &err), 0);
    assert_false(erne_media_info(media).is_video);
    assert_int_equal(erne_media_info(media).n_frames, 1);
    assert_int_equal(erne_media_info(media).width, 29);
    assert_int_equal(erne_media_info(media).height, 37);
    assert_int_equal(media_grid(media, &spec, &grid, &err), 0);
    assert_int_equal(grid.t, 1);
    assert_int_equal(grid.n_tokens, grid.gh * grid.gw / 4);
    erne_media_close(&media);
    assert_null(media);
    erne_media_close(&media);
}

static void test_image_errors(void **state)
{
    struct erne_media *media = NULL;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(erne_media_open_image(&media, DATA "none.png", &err), ERNE_EIO);
    assert_non_null(strstr(err.text, "none.png"));
    assert_int_equal(erne_media_open_image(&media, DATA "golden.txt", &err),
                     ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "golden.txt: no picture"));
    assert_true(erne_media_open_image(&media, DATA "frames", &err) < 0);
    assert_int_equal(erne_media_open_frames(&media, DATA "none", &err), ERNE_EIO);
    assert_int_equal(erne_media_image_from_memory(&media, "x", 1, NULL), ERNE_EFORMAT);
    assert_null(media);
}

static bool build_reads_frames(void)
{
    return build_has("jpeg") && build_has("png") && build_has("webp");
}

/* All patches of media; NULL where one failed. */
static float *patches_of(const struct erne_media *media, const struct media_spec *spec,
                         struct media_grid *grid, int *st, struct erne_error *err)
{
    size_t n_frame;
    float *values;

    *st = media_grid(media, spec, grid, err);
    if (*st < 0)
        return NULL;
    n_frame = (size_t)grid->gh * (size_t)grid->gw * 3 * 14 * 14;
    values = malloc((size_t)grid->t * n_frame * sizeof(*values));
    if (!values)
        *st = ERNE_ENOMEM;
    for (int i = 0; *st == ERNE_OK && i < grid->t; i++)
        *st = media_patches(media, spec, grid, i, values + (size_t)i * n_frame, err);
    if (*st < 0) {
        free(values);
        return NULL;
    }
    return values;
}

static void test_frames(void **state)
{
    FILE *file = golden_open();
    struct media_spec spec = spec_of("video");
    struct erne_media *media = NULL;
    struct erne_error err = { 0 };
    struct media_grid grid;
    struct golden g;
    float *values;
    int st;

    (void)state;
    if (!build_reads_frames())
        skip();
    spec.min_pixels = spec.video_min_pixels; /* as the golden values were made */
    assert_true(golden_next(file, "frames", &g));
    fclose(file);
    assert_int_equal(erne_media_open_frames(&media, DATA "frames", &err), 0);
    assert_true(media_is_video(media));
    assert_int_equal(erne_media_info(media).n_frames, 3);
    values = patches_of(media, &spec, &grid, &st, &err);
    assert_int_equal(st, 0);
    assert_int_equal(grid.t, g.n[0]);
    assert_int_equal(grid.t * grid.gh * grid.gw, g.n[1]);
    assert_int_equal(grid.n_tokens, g.n[1] / 8);
    assert_int_equal(crc32_of(values, (size_t)g.n[1] * 588 * sizeof(*values)), g.crc);
    free(values);
    erne_media_close(&media);
}

/* A folder with a file that is no picture, or with nothing, is refused. */
static void test_frames_errors(void **state)
{
    struct erne_media *media = NULL;
    struct erne_error err = { 0 };

    (void)state;
    assert_int_equal(erne_media_open_frames(&media, ERNE_TEST_DATA, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "no picture"));
    assert_int_equal(erne_media_open_frames(&media, ERNE_TEST_DIR, &err), ERNE_EFORMAT);
    assert_non_null(strstr(err.text, "no frames"));
    assert_null(media);
}

/* ----------------------------------------------------- failing allocations */

static int use_image(const char *path)
{
    const struct media_spec spec = spec_of("ernie");
    struct erne_media *media = NULL;
    struct erne_error err;
    struct media_grid grid;
    int st = erne_media_open_image(&media, path, &err);

    if (st == ERNE_OK)
        free(patches_of(media, &spec, &grid, &st, &err));
    erne_media_close(&media);
    return st;
}

static int use_frames(void)
{
    struct media_spec spec = spec_of("video");
    struct erne_media *media = NULL;
    struct erne_error err;
    struct media_grid grid;
    int st = erne_media_open_frames(&media, DATA "frames", &err);

    spec.video_min_pixels = 3136;
    if (st == ERNE_OK)
        free(patches_of(media, &spec, &grid, &st, &err));
    erne_media_close(&media);
    return st;
}

static void test_allocations(void **state)
{
    static const char *const paths[] = {
        DATA "exif6.jpg", DATA "cmyk.jpg", DATA "c3d4i1.png", DATA "exif_raw.png",
        DATA "exif8.webp", DATA "animated_inside.webp",
    };
    int st;

    (void)state;
    for (size_t i = 0; i < ERNE_ARRAY_LEN(paths); i++)
        for (size_t n = 1; build_reads(paths[i]); n++) {
            alloc_fail_at(n);
            st = use_image(paths[i]);
            if (!alloc_fail_hit()) {
                assert_int_equal(st, 0);
                break;
            }
            assert_int_equal(st, ERNE_ENOMEM);
        }
}

static void test_frames_allocations(void **state)
{
    int st;

    (void)state;
    if (!build_reads_frames())
        skip();
    for (size_t n = 1; alloc_fail_at(n), st = use_frames(), alloc_fail_hit(); n++)
        if (st != ERNE_ENOMEM && st != ERNE_EIO)
            fail_msg("allocation %zu: %d", n, st);
    assert_int_equal(st, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bad_spec),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_patches),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_image_errors),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_frames_errors),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_frames_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
