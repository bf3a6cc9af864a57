/* segment_attention.cl -- attention of all rows of a segment to each other. A work-group
 * has QUERIES rows of one head. Rows of several segments see the rows of theirs only: the
 * block walks from the first that one sees to the last. */
__kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
segment_attention(__global const float *q, uint q_at, int q_stride,
                  __global const float *k, uint k_at, int k_stride,
                  __global const float *v, uint v_at, int v_stride,
                  __global const int *bounds, uint bounds_at, __global float *dst,
                  uint dst_at, int dst_stride, int n_rows, int d, float scale,
                  __local float *room_q, __local float *room_acc)
{
    __local float scores[QUERIES * PAGE], most[QUERIES], sum[QUERIES], fade[QUERIES];
    __local float part[LANES];
    __local int begin[QUERIES], end[QUERIES], seen[QUERIES];
    const int lane = get_local_id(0), head = get_group_id(1);
    const int first_row = get_group_id(0) * QUERIES;
    struct block b = { room_q, room_acc, scores, most, sum, fade, part, seen,
                       min(QUERIES, n_rows - first_row), d, scale };

    if (lane < QUERIES) {
        const uint at = bounds_at + 2 * (uint)(first_row + min(lane, b.n - 1));

        begin[lane] = bounds[at];
        end[lane] = bounds[at + 1];
    }
    for (int i = lane; i < QUERIES * d; i += LANES)
        room_q[i] = i / d < b.n ? q[q_at + (uint)(first_row + i / d) * (uint)q_stride +
                                    (uint)(head * d + i % d)]
                                : 0.0f;
    clear_block(&b);
    for (int r = 0; r < b.n;) {
        /* Neighbouring rows of one segment, which begin and end alike. */
        const int first = begin[r], last = end[r];
        int next = r;

        while (next < b.n && begin[next] == first)
            next++;
        if (lane < QUERIES)
            seen[lane] = lane >= r && lane < next ? last : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int p = first; p < last; p += PAGE) {
            const struct page page = {
                k + k_at + (uint)p * (uint)k_stride + (uint)(head * d),
                v + v_at + (uint)p * (uint)v_stride + (uint)(head * d),
                (uint)k_stride,
                (uint)v_stride,
                p,
                min(PAGE, last - p)
            };

            attend_page(&b, &page);
        }
        r = next;
    }
    for (int i = lane; i < b.n * d; i += LANES)
        dst[dst_at + (uint)(first_row + i / d) * (uint)dst_stride +
            (uint)(head * d + i % d)] = room_acc[i] / sum[i / d];
}
