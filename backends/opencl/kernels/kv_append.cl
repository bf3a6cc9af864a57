/* kv_append.cl -- rows of new tokens into their slots of a paged cache
 * [P, n_heads, KV_PAGE, d]; a work-item an element. CACHE_F16: the cache is f16. */
#define KV_PAGE 64

__kernel void kv_append(__global const float *x, uint x_at, int x_stride,
#if CACHE_F16
                        __global half *cache,
#else
                        __global float *cache,
#endif
                        uint cache_at, __global const int *slot, uint slot_at,
                        int n_heads, int d)
{
    const int i = get_global_id(0);
    const uint token = get_global_id(1);
    size_t page, place, to;
    float value;

    if (i >= n_heads * d)
        return;
    page = (size_t)(slot[slot_at + token] / KV_PAGE);
    place = (size_t)(slot[slot_at + token] % KV_PAGE);
    to = cache_at + ((page * n_heads + i / d) * KV_PAGE + place) * d + i % d;
    value = x[x_at + token * (uint)x_stride + (uint)i];
#if CACHE_F16
    vstore_half_rte(value, to, cache);
#else
    cache[to] = value;
#endif
}
