/* kv_load.inc.c -- numbers of a row of keys or values, by type of cache. Included after
 * the vectors. */

/* VL numbers of a row of d from i on; codes without their scale. */
static inline vf kv_load_f32(const uint8_t *row, int64_t i, int64_t d)
{
    (void)d;
    return v_load((const float *)(const void *)row + i);
}

static inline vf kv_load_f16(const uint8_t *row, int64_t i, int64_t d)
{
    (void)d;
    return v_load_f16((const uint16_t *)(const void *)row + i);
}

static inline vf kv_load_q8(const uint8_t *row, int64_t i, int64_t d)
{
    (void)d;
    return v_load_i8(row + i);
}

/* The second half of the numbers are the high bits of the first half's bytes. */
static inline vf kv_load_q4(const uint8_t *row, int64_t i, int64_t d)
{
    const bool high = i >= d / 2;
    return v_sub(v_load_u4(row + i - (high ? d / 2 : 0), high ? 4 : 0), v_set1(7.5f));
}
