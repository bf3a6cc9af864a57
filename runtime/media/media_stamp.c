/* media_stamp.c -- which frames of a video are taken, and the time stamps on them.
 *
 * The reference draws stamps in Roboto. Here is a font of strokes instead, that needs no
 * file: its letters have Roboto's sizes, places and weight, but not its exact outlines,
 * so that stamped pixels differ a little from the reference's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/media/media_video.h"

/* --------------------------------------------------------------- sampling */

int media_sample(int64_t *indices, int64_t n_total, double fps)
{
    static const int per_second = 2, least = 16, most = 180;
    const double duration = (double)n_total / fps, wanted = duration * per_second;
    const double end = ceil(wanted);
    int64_t target = wanted < least ? least : most;
    int n = 0;

    if (floor(wanted) >= least && floor(wanted) <= most) {
        for (int i = 0; i < end && n < MEDIA_MAX_SAMPLES; i++) {
            const double at = rint((double)i / per_second * fps);

            if (at < (double)n_total)
                indices[n++] = (int64_t)at;
        }
        return n;
    }
    target = target < n_total ? target : n_total;
    for (; n < target; n++)
        indices[n] = (int64_t)(n * ((double)n_total / (double)target));
    return n;
}

void media_stamp_text(char *buf, size_t cap, double seconds)
{
    const double hour = 3600, minute = 60;

    snprintf(buf, cap, "time: %02.0f:%02.0f:%05.2f", floor(seconds / hour),
             floor(fmod(seconds, hour) / minute), fmod(seconds, minute));
}

/* ------------------------------------------------------------------- font */

/* A stroke in thousandths of the font's size, from the left of the letter and up from the
 * line: from (a, b) to (c, d), or when it is an arc, around (a, b) with the radii c and d
 * between two angles in degrees. */
struct stroke {
    char letter;
    bool arc;
    int16_t a, b, c, d, from, to;
};

enum { PIECES = 16 };
static const int half_weight = 45, ascent = 928;

static const struct stroke strokes[] = {
    { '0', true, 281, 356, 171, 311, 0, 360 },
    { '1', false, 130, 570, 320, 650, 0, 0 },
    { '1', false, 320, 650, 320, 45, 0, 0 },
    { '2', true, 275, 490, 160, 176, 170, -30 },
    { '2', false, 414, 402, 105, 45, 0, 0 },
    { '2', false, 105, 45, 475, 45, 0, 0 },
    { '3', true, 270, 510, 150, 156, 160, -90 },
    { '3', true, 270, 200, 172, 155, 90, -160 },
    { '4', false, 365, 45, 365, 666, 0, 0 },
    { '4', false, 365, 666, 85, 210, 0, 0 },
    { '4', false, 85, 210, 490, 210, 0, 0 },
    { '5', false, 445, 660, 165, 660, 0, 0 },
    { '5', false, 165, 660, 135, 370, 0, 0 },
    { '5', true, 275, 240, 175, 195, 142, -155 },
    { '6', true, 281, 225, 170, 180, 0, 360 },
    { '6', true, 400, 225, 289, 435, 180, 90 },
    { '7', false, 85, 660, 470, 660, 0, 0 },
    { '7', false, 470, 660, 210, 45, 0, 0 },
    { '8', true, 281, 505, 148, 158, 0, 360 },
    { '8', true, 281, 200, 170, 155, 0, 360 },
    { '9', true, 281, 486, 170, 180, 0, 360 },
    { '9', true, 162, 486, 289, 435, 0, -90 },
    { 't', false, 150, 640, 150, 140, 0, 0 },
    { 't', true, 240, 140, 90, 95, 180, 270 },
    { 't', false, 240, 45, 295, 50, 0, 0 },
    { 't', false, 45, 485, 280, 485, 0, 0 },
    { 'i', false, 121, 45, 121, 485, 0, 0 },
    { 'i', false, 121, 660, 121, 665, 0, 0 },
    { 'm', false, 115, 45, 115, 485, 0, 0 },
    { 'm', true, 276, 345, 161, 140, 180, 0 },
    { 'm', false, 437, 345, 437, 45, 0, 0 },
    { 'm', true, 598, 345, 162, 140, 180, 0 },
    { 'm', false, 760, 345, 760, 45, 0, 0 },
    { 'e', false, 95, 265, 445, 265, 0, 0 },
    { 'e', true, 270, 265, 175, 220, 0, 320 },
    { ':', false, 121, 440, 121, 445, 0, 0 },
    { ':', false, 121, 50, 121, 55, 0, 0 },
    { '.', false, 132, 50, 132, 55, 0, 0 },
};

static int advance_of(char letter)
{
    switch (letter) {
    case 't': return 327;
    case 'i': return 243;
    case 'm': return 876;
    case 'e': return 530;
    case ':': return 242;
    case '.': return 263;
    case ' ': return 248;
    default: return 562;
    }
}

/* Squared distance of (x, y) from the line between two points. */
static double line_distance(double x, double y, const double p[2], const double q[2])
{
    const double dx = q[0] - p[0], dy = q[1] - p[1], n = dx * dx + dy * dy;
    double t = n > 0 ? ((x - p[0]) * dx + (y - p[1]) * dy) / n : 0;

    t = t < 0 ? 0 : t > 1 ? 1 : t;
    x -= p[0] + t * dx;
    y -= p[1] + t * dy;
    return x * x + y * y;
}

static void arc_point(const struct stroke *s, int piece, double out[2])
{
    const double radians = 3.14159265358979323846 / 180;
    const double angle =
        (s->from + (s->to - s->from) * (double)piece / (double)PIECES) * radians;

    out[0] = s->a + s->c * cos(angle);
    out[1] = s->b + s->d * sin(angle);
}

/* The lines of a letter, [n][2 ends][x, y]; returns n. */
enum { MAX_LINES = 5 * PIECES };

static int letter_lines(char letter, double lines[MAX_LINES][2][2])
{
    int n = 0;

    for (size_t i = 0; i < ERNE_ARRAY_LEN(strokes); i++) {
        const struct stroke *s = &strokes[i];

        if (s->letter != letter)
            continue;
        if (!s->arc) {
            const double ends[2][2] = { { s->a, s->b }, { s->c, s->d } };

            memcpy(lines[n++], ends, sizeof(ends));
            continue;
        }
        for (int k = 0; k < PIECES; k++, n++) {
            arc_point(s, k, lines[n][0]);
            arc_point(s, k + 1, lines[n][1]);
        }
    }
    return n;
}

/* ---------------------------------------------------------------- drawing */

static void blend(uint8_t *rgb, uint8_t value, double cover)
{
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)(rgb[c] + (value - rgb[c]) * cover + 0.5);
}

/* left: of the letter, in pixels; reach: half the pen's width in pixels. */
static void draw_letter(struct media_image *image, char letter, double left, double size,
                        double reach, uint8_t value)
{
    double lines[MAX_LINES][2][2];
    const int n = letter_lines(letter, lines);
    const double unit = 1000 / size, width = advance_of(letter) / unit;
    const int y_end = (int)fmin(image->height, size * 1.5);
    const int x0 = (int)fmax(0, left - reach);
    const int x_end = (int)fmin(image->width, left + width + reach + 2);

    for (int y = 0; n > 0 && y < y_end; y++)
        for (int x = x0; x < x_end; x++) {
            const double px = (x + 0.5 - left) * unit, py = ascent - (y + 0.5) * unit;
            double nearest = INFINITY, cover;

            for (int i = 0; i < n; i++)
                nearest = fmin(nearest, line_distance(px, py, lines[i][0], lines[i][1]));
            cover = reach + 0.5 - sqrt(nearest) / unit;
            if (cover > 0)
                blend(image->rgb + 3 * ((size_t)y * (size_t)image->width + (size_t)x),
                      value, fmin(cover, 1));
        }
}

void media_stamp_draw(struct media_image *image, const char *text)
{
    const int size =
        (int)((image->width < image->height ? image->width : image->height) * 0.1);
    const int rim = (int)(size * 0.1);
    const double half = size * half_weight / 1000.0;

    for (int pass = 0; size > 0 && pass < 2; pass++) {
        double left = 0;

        for (const char *c = text; *c; c++) {
            draw_letter(image, *c, left, size, pass == 0 ? half + rim : half,
                        pass == 0 ? 255 : 0);
            left += advance_of(*c) * size / 1000.0;
        }
    }
}
