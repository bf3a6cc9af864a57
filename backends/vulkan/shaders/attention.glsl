/* attention.glsl -- what both forms of attention share: buffers, constants, what a query
 * sees, where things are. */
#include "backends/vulkan/shaders/common.glsl"
#include "backends/vulkan/shaders/kv_row.glsl"

layout(constant_id = 1) const uint SOURCE = 0; /* KV_F16 .. KV_Q4 */
layout(constant_id = 2) const uint D = 64; /* of a head */
layout(constant_id = 3) const uint QUERIES = 1;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 3) readonly buffer Table { uint table[]; };
layout(std430, binding = 4) readonly buffer Bounds { int bounds[]; };
layout(std430, binding = 5) writeonly buffer Dst { float dst[]; };
layout(push_constant) uniform Push {
    Rows q_rows, k_rows, v_rows;
    uint table_at, bounds_at;
    Rows dst_rows;
    uint n_tok, n_kv_heads, n_group; /* query heads that share a KV head */
    float scale;
    uint n_splits;
    float turn; /* KV_Q4: what a rotation is multiplied by in the end */
};

const bool IS_CODES = SOURCE >= KV_Q8;
/* Columns of a unit: of floats and halves a word, of codes two bytes or one. */
const uint HALVES = SOURCE == KV_F32 || SOURCE == KV_ROWS ? 1 : 2;
const uint UNITS = D / HALVES;
const uint PART = (D + 2 + 3) / 4 * 4;
const float NEVER = -3.0e38;

/* From one position's row to the next, within a page: words, of codes bytes. */
uint row_step(const Rows rows)
{
    return SOURCE == KV_ROWS ? rows.stride : IS_CODES ? row_bytes(SOURCE, D) : UNITS;
}

/* Where position p of a KV head begins: a word, of codes a byte. */
uint place_of(uint p, uint head, const Rows rows)
{
    if (SOURCE == KV_ROWS)
        return rows.at + p * rows.stride + head * D;
    return rows.at * (IS_CODES ? 4u : 1u) +
           ((table[table_at + p / PAGE] * n_kv_heads + head) * PAGE + p % PAGE) *
               row_step(rows);
}

uint n_queries()
{
    return min(QUERIES, n_tok * n_group - gl_WorkGroupID.x * QUERIES);
}

/* A query of a workgroup: its first column, and the positions it sees. */
struct Query {
    uint at;
    int first, end;
};

/* Query i of the workgroup, or its last. */
Query query_of(uint i, uint kv_head)
{
    const uint n = gl_WorkGroupID.x * QUERIES + min(i, n_queries() - 1u);
    const uint token = n / n_group, head = kv_head * n_group + n % n_group;
    Query query;

    query.at = q_rows.at + token * q_rows.stride + head * D;
    query.first = SOURCE == KV_ROWS ? bounds[bounds_at + 2u * token] : 0;
    query.end = SOURCE == KV_ROWS ? bounds[bounds_at + 2u * token + 1u]
                                  : bounds[bounds_at + token] + 1;
    return query;
}

/* Where the result of query i goes. With splits it is a part: the columns' sums, then
 * their maximum, their weight, and padding to PART floats. */
uint part_of(uint i, uint kv_head)
{
    const uint n = gl_WorkGroupID.x * QUERIES + i;
    const uint token = n / n_group, head = kv_head * n_group + n % n_group;

    if (n_splits > 1u)
        return dst_rows.at +
               ((token * n_kv_heads * n_group + head) * n_splits + gl_WorkGroupID.z) *
                   PART;
    return dst_rows.at + token * dst_rows.stride + head * D;
}
