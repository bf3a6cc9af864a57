/* bench_picture.c -- makes a picture of a wanted size, as a PNG whose data is stored
 * without compression (RFC 1950, 1951; PNG specification, section 5). */
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench.h"

enum { BLOCK = 65535, MAX_SIDE = 16384 };

/* A file that grows; the room is known before. */
struct png {
    uint8_t *data;
    size_t n, chunk; /* where the current chunk's type begins */
};

static void put_byte(struct png *p, unsigned x)
{
    p->data[p->n++] = (uint8_t)x;
}

static void put_u32(struct png *p, uint32_t x)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        put_byte(p, x >> shift & 0xff);
}

static uint32_t crc32_of(const uint8_t *data, size_t n)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static void begin_chunk(struct png *p, const char *type, size_t n_bytes)
{
    put_u32(p, (uint32_t)n_bytes);
    p->chunk = p->n;
    memcpy(p->data + p->n, type, 4);
    p->n += 4;
}

static void end_chunk(struct png *p)
{
    put_u32(p, crc32_of(p->data + p->chunk, p->n - p->chunk));
}

/* Byte i of the picture's lines, each led by its filter's number 0: colours that run over
 * the width, with a texture. */
static uint8_t pixel_byte(size_t i, size_t line_bytes)
{
    const size_t x = i % line_bytes, y = i / line_bytes;

    if (x == 0)
        return 0;
    return (uint8_t)(x * 255 / line_bytes + 16 * (y / 8 % 2) + x % 3 * 40);
}

/* zlib: header, stored blocks, Adler-32. */
static void put_pixels(struct png *p, size_t n, size_t line_bytes)
{
    uint32_t a = 1, b = 0;

    put_byte(p, 0x78);
    put_byte(p, 0x01);
    for (size_t first = 0; first < n; first += BLOCK) {
        const size_t take = n - first < BLOCK ? n - first : BLOCK;

        put_byte(p, first + take == n);
        put_byte(p, (unsigned)take & 0xff);
        put_byte(p, (unsigned)(take >> 8));
        put_byte(p, ~(unsigned)take & 0xff);
        put_byte(p, ~(unsigned)take >> 8 & 0xff);
        for (size_t i = first; i < first + take; i++) {
            const uint8_t x = pixel_byte(i, line_bytes);

            put_byte(p, x);
            a = (a + x) % 65521;
            b = (b + a) % 65521;
        }
    }
    put_u32(p, b << 16 | a);
}

int bench_picture(struct erne_media **out, int width, int height, struct erne_error *err)
{
    static const uint8_t magic[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    const size_t line_bytes = 1 + 3 * (size_t)width, n = line_bytes * (size_t)height;
    const size_t n_idat = 2 + n + 5 * ((n + BLOCK - 1) / BLOCK) + 4;
    struct png p = { 0 };
    int st;

    if (width > MAX_SIDE || height > MAX_SIDE)
        return cli_fail(err, ERNE_EINVAL, "option --image-size: %dx%d is larger than %d",
                        width, height, MAX_SIDE);
    p.data = malloc(sizeof(magic) + 25 + 12 + n_idat + 12);
    if (!p.data)
        return cli_fail(err, ERNE_ENOMEM, "out of memory for a picture of %dx%d", width,
                        height);
    memcpy(p.data, magic, sizeof(magic));
    p.n = sizeof(magic);
    begin_chunk(&p, "IHDR", 13);
    put_u32(&p, (uint32_t)width);
    put_u32(&p, (uint32_t)height);
    put_byte(&p, 8); /* bits */
    put_byte(&p, 2); /* RGB */
    put_byte(&p, 0);
    put_byte(&p, 0);
    put_byte(&p, 0);
    end_chunk(&p);
    begin_chunk(&p, "IDAT", n_idat);
    put_pixels(&p, n, line_bytes);
    end_chunk(&p);
    begin_chunk(&p, "IEND", 0);
    end_chunk(&p);
    st = erne_media_image_from_memory(out, p.data, p.n, err);
    free(p.data);
    return st;
}
