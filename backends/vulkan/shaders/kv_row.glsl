/* kv_row.glsl -- q8 and q4 rows of a KV cache (runtime/kv_row.h). Rows of a cache are
 * packed: they begin at multiples of two bytes, not of words. */

/* enum erne_type's order, with rows of activations between. */
const uint KV_F16 = 0, KV_F32 = 1, KV_ROWS = 2, KV_Q8 = 3, KV_Q4 = 4;
const uint PAGE = 64; /* ERNE_KV_PAGE */

uint code_bytes(uint type, uint d)
{
    return type == KV_Q4 ? d / 2u : d;
}

uint row_bytes(uint type, uint d)
{
    return code_bytes(type, d) + 2u;
}

/* ---- of a row of codes that begins at byte `from` */

/* A word that holds the scale, and the scale out of it. */
uint scale_word(uint type, uint d, uint from)
{
    return (from + code_bytes(type, d)) / 4u;
}

float scale_in(uint word, uint type, uint d, uint from)
{
    return half_to_float(word >> ((from + code_bytes(type, d)) & 2u) * 8u & 0xffffu);
}
