/* attention.cl -- causal attention with grouped query heads over the paged KV cache.
 *
 * The query rows that share a KV head (tokens by heads of the group, token first) are
 * cut into blocks of QUERIES. Where that makes too few work-groups for the device,
 * positions are split as well: each split leaves its unfinished sums, and attention_merge
 * joins them.
 */

/* cache: [P, n_kv_heads, PAGE, row]. parts [splits][n_tok][n_heads][d + 2], if there are
 * several: sums, the largest score, the sum of weights. */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
attention(__global const float *q, uint q_at, int q_stride,
          __global const kv_type *k_cache, uint k_at, __global const kv_type *v_cache,
          uint v_at, __global const int *table, uint table_at,
          __global const int *position, uint position_at, __global float *dst,
          uint dst_at, int dst_stride, __global float *parts, uint parts_at, int n_tok,
          int n_heads, int n_kv_heads, int d, float scale, int n_splits, float factor,
          __local float *room_q, __local float *room_acc)
{
    __local float scores[QUERIES * PAGE], most[QUERIES], sum[QUERIES], fade[QUERIES];
    __local float part[LANES];
    __local int end[QUERIES];
    const int lane = get_local_id(0), group = n_heads / n_kv_heads;
    const int kv_head = get_group_id(1) / n_splits, split = get_group_id(1) % n_splits;
    const int first_row = get_group_id(0) * QUERIES;
    struct block b = { room_q, room_acc, scores, most, sum, fade, part, end,
                       min(QUERIES, n_tok * group - first_row), d, scale };
    int last = 0, n_pages, page_first, page_end;

    if (lane < QUERIES)
        end[lane] = lane < b.n ? position[position_at + (first_row + lane) / group] + 1
                               : 0;
    for (int i = lane; i < QUERIES * d; i += LANES) {
        const int row = first_row + i / d;

        room_q[i] = i / d < b.n
                        ? q[q_at + (uint)(row / group) * (uint)q_stride +
                            (uint)((kv_head * group + row % group) * d + i % d)]
                        : 0.0f;
    }
#if CACHE == KV_Q4
    rotate_rows(room_q, QUERIES * d, d, factor);
#endif
    clear_block(&b);
    for (int r = 0; r < b.n; r++)
        last = max(last, end[r]);
    n_pages = (last + PAGE - 1) / PAGE;
    page_first = (int)((long)n_pages * split / n_splits);
    page_end = (int)((long)n_pages * (split + 1) / n_splits);
    for (int p = page_first; p < page_end; p++) {
        const size_t at =
            ((size_t)table[table_at + p] * n_kv_heads + kv_head) * PAGE *
            (size_t)KV_STEP(d);
        const struct page page = { k_cache + k_at + at, v_cache + v_at + at,
                                   (uint)KV_STEP(d),    (uint)KV_STEP(d),
                                   p * PAGE,            min(PAGE, last - p * PAGE) };

        attend_page(&b, &page);
    }
#if CACHE == KV_Q4
    rotate_rows(room_acc, QUERIES * d, d, factor);
#endif
    for (int i = lane; i < b.n * (d + 2); i += LANES) {
        const int r = i / (d + 2), c = i % (d + 2), row = first_row + r;
        const uint token = (uint)(row / group);
        const uint head = (uint)(kv_head * group + row % group);
        const float value = c < d ? room_acc[r * d + c] : c == d ? most[r] : sum[r];

        if (n_splits > 1)
            parts[parts_at +
                  (((uint)(split * n_tok) + token) * (uint)n_heads + head) *
                      (uint)(d + 2) + (uint)c] = value;
        else if (c < d)
            dst[dst_at + token * (uint)dst_stride + head * (uint)d + (uint)c] =
                value / sum[r];
    }
}

/* A work-group a head of a token. */
__kernel void attention_merge(__global const float *parts, uint parts_at,
                              __global float *dst, uint dst_at, int dst_stride, int n_tok,
                              int n_heads, int d, int n_splits)
{
    const int head = get_group_id(0), token = get_group_id(1);
    const uint split_size = (uint)(n_tok * n_heads * (d + 2));
    __global const float *mine =
        parts + parts_at + (uint)((token * n_heads + head) * (d + 2));
    float most = -INFINITY, sum = 0.0f;

    for (int s = 0; s < n_splits; s++)
        most = fmax(most, mine[s * split_size + d]);
    for (int s = 0; s < n_splits; s++)
        sum += exp(mine[s * split_size + d] - most) * mine[s * split_size + d + 1];
    for (int c = get_local_id(0); c < d; c += LANES) {
        float y = 0.0f;

        for (int s = 0; s < n_splits; s++)
            y += exp(mine[s * split_size + d] - most) * mine[s * split_size + c];
        dst[dst_at + (uint)token * (uint)dst_stride + (uint)(head * d + c)] = y / sum;
    }
}
