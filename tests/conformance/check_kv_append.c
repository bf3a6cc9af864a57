/* check_kv_append.c -- cases of kv_append: rows are stored by the same rounding
 * everywhere, so every bit must be right, those of other slots included. */
#include <inttypes.h>
#include <stdio.h>

#include "runtime/kv_row.h"
#include "tests/conformance/op_case.h"

static const struct {
    int32_t n_tok;
    int64_t pages, heads, d, gap;
    bool bench;
} shapes[] = {
    { 1, 1, 1, 16, 0, false },   { 2, 2, 2, 32, 0, false },
    { 3, 2, 1, 80, 3, false },   { 17, 3, 2, 64, 5, false },
    { 64, 1, 1, 128, 0, false }, { 100, 4, 3, 20, 0, false },
    { 1, 64, 2, 128, 0, true },  { 512, 64, 2, 128, 512, true },
};

static const enum erne_type types[] = { ERNE_TYPE_F16, ERNE_TYPE_F32, ERNE_TYPE_Q8,
                                        ERNE_TYPE_Q4 };
static const char *const type_names[] = { "f16", "f32", "q8", "q4" };

/* Case i is a shape with a type. */
static size_t count(void)
{
    return ERNE_ARRAY_LEN(shapes) * ERNE_ARRAY_LEN(types);
}

static size_t shape_of(size_t i)
{
    return i % ERNE_ARRAY_LEN(shapes);
}

static enum erne_type type_of(size_t i)
{
    return types[i / ERNE_ARRAY_LEN(shapes)];
}

static void describe(size_t i, char name[OP_CASE_NAME_MAX])
{
    const size_t s = shape_of(i);

    snprintf(name, OP_CASE_NAME_MAX, "%s T%d P%" PRId64 " H%" PRId64 " d%" PRId64 "%s",
             type_names[i / ERNE_ARRAY_LEN(shapes)], shapes[s].n_tok, shapes[s].pages,
             shapes[s].heads, shapes[s].d, shapes[s].gap ? " view" : "");
}

static bool is_bench(size_t i)
{
    return shapes[shape_of(i)].bench;
}

/* Slots are distinct and follow no order. f16's denormals and overflow are met too. */
static void build(struct op_trial *t, size_t i)
{
    const size_t s = shape_of(i);
    const int64_t n_slots = shapes[s].pages * ERNE_KV_PAGE;
    const float scale = t->fill == OP_FILL_DENORMAL ? 1e34f : 1.0f;
    int32_t all[64 * ERNE_KV_PAGE];
    struct erne_tensor *x, *slot;

    t->step.n_tok = shapes[s].n_tok;
    x = op_add_rows(t, "x", ERNE_ROWS_TOKENS, shapes[s].heads * shapes[s].d,
                    shapes[s].gap);
    slot = op_add_indices(t, "slot", ERNE_ROWS_TOKENS, 0);
    op_fill_rows(t, x, scale);
    op_shuffle(t, all, (int32_t)n_slots);
    for (int32_t n = 0; n < shapes[s].n_tok; n++)
        ((int32_t *)slot->data)[n] = all[n];
    t->node.src[ERNE_SRC_X] = x;
    t->node.src[ERNE_SRC_CACHE] =
        op_add_cache(t, "cache", type_of(i), shapes[s].pages, shapes[s].heads,
                     erne_kv_row_len(type_of(i), shapes[s].d));
    t->node.src[ERNE_SRC_SLOT] = slot;
    t->node.dst = t->node.src[ERNE_SRC_CACHE];
}

static struct op_work work(const struct op_trial *t)
{
    const double per_element = 4 + (double)erne_type_bytes(t->node.dst->type);

    return (struct op_work){ .n_bytes = per_element * t->step.n_tok *
                                        (double)t->node.src[ERNE_SRC_X]->dim[1] };
}

const struct op_case_table erne_check_kv_append = {
    .count = count,
    .describe = describe,
    .is_bench = is_bench,
    .build = build,
    .work = work,
};
