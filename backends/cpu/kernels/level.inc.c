/* level.inc.c -- all kernels on the vectors included before, and the init that puts them
 * into the table. Everything else in a level's object is static. */
#include "backends/cpu/kernels/rows.inc.c"

#include "backends/cpu/kernels/matmul_float.inc.c"

#include "backends/cpu/kernels/attention.inc.c"
#include "backends/cpu/kernels/matmul_int.inc.c"
#include "backends/cpu/kernels/peak.inc.c"
#include "backends/cpu/kernels/quantise.inc.c"

void CPU_KERNELS_INIT(struct cpu_kernels *k)
{
    k->rms_norm = rms_norm;
    k->layer_norm = layer_norm;
    k->f16_from_f32 = f16_from_f32;
    k->f32_from_f16 = f32_from_f16;
    k->bf16_from_f32 = bf16_from_f32;
    k->finish = finish;
    k->add_scaled = add_scaled;
    k->quantise = quantise;
    k->tile_float[ERNE_CODEC_F32] = tile_f32;
    k->tile_float[ERNE_CODEC_BF16] = tile_bf16;
    k->tile_float[ERNE_CODEC_F16] = tile_f16;
    k->tile_int[ERNE_CODEC_W8] = tile_w8;
    k->tile_int[ERNE_CODEC_W4] = tile_w4;
    k->tile_int[ERNE_CODEC_W2] = tile_w2;
    k->attend[ERNE_TYPE_F32] = attend_f32;
    k->attend[ERNE_TYPE_F16] = attend_f16;
    k->attend[ERNE_TYPE_Q8] = attend_q8;
    k->attend[ERNE_TYPE_Q4] = attend_q4;
    k->w8_zero = W8_ZERO;
    k->peak_f32 = peak_f32;
    k->peak_i8 = peak_i8;
    k->peak_read = peak_read;
    k->peak_f32_ops = 2 * VL * PEAK_CHAINS;
    k->peak_i8_ops = 8 * VL * PEAK_CHAINS;
}
