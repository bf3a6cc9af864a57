/* ref_kv_append.c -- stores keys (or values) of new tokens in their cache slots. f16
 * caches round to nearest even; what f16 cannot hold becomes infinite. Codes are those of
 * runtime/kv_row.h. */
#include <string.h>

#include "backends/reference/ref_backend.h"
#include "runtime/kv_row.h"

static void store(const struct erne_tensor *cache, int64_t row, const float *x)
{
    const int64_t d = erne_kv_head_dim(cache), at = row * cache->dim[3];

    if (erne_kv_is_quantised(cache->type))
        erne_kv_encode(cache->type, (uint8_t *)cache->data + at, x, d);
    for (int64_t i = 0; i < d && cache->type == ERNE_TYPE_F16; i++)
        ((uint16_t *)cache->data)[at + i] = erne_f16_from_f32(x[i]);
    if (cache->type == ERNE_TYPE_F32)
        memcpy((float *)cache->data + at, x, (size_t)d * sizeof(*x));
}

/* x: [T, H_kv * d], slot: i32 [T], cache: [P, H_kv, ERNE_KV_PAGE, row] */
static int run(struct erne_backend *be, const struct erne_node *node,
               const struct erne_step *step)
{
    const struct erne_tensor *x = node->src[ERNE_SRC_X];
    const struct erne_tensor *cache = node->src[ERNE_SRC_CACHE];
    const int32_t *slot = node->src[ERNE_SRC_SLOT]->data;
    const int64_t n_heads = cache->dim[1], d = erne_kv_head_dim(cache);
    const int64_t n_tok = erne_tensor_rows(x, step);

    (void)be;
    for (int64_t t = 0; t < n_tok; t++)
        for (int64_t head = 0; head < n_heads; head++) {
            const int64_t page = slot[t] / ERNE_KV_PAGE, place = slot[t] % ERNE_KV_PAGE;

            store(cache, (page * n_heads + head) * ERNE_KV_PAGE + place,
                  ref_row(x, t) + head * d);
        }
    return 0;
}

const struct erne_op_impl erne_ref_kv_append = { .name = "plain",
                                                 .quantised_kv = true,
                                                 .run = run };
