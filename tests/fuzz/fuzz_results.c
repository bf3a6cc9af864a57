/* fuzz_results.c -- any text as a file of results of erne bench, compared with itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cli/bench_compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct bench_results results = { 0 };
    struct cli_text text = { 0 };
    struct erne_error err;
    char *copy = calloc(n_bytes + 1, 1);

    if (!copy)
        return 0;
    memcpy(copy, data, n_bytes);
    if (bench_results_read(&results, copy, n_bytes, "fuzz", &err) == ERNE_OK)
        (void)bench_compare_write(&text, &results, &results, &err);
    bench_results_deinit(&results);
    free(text.data);
    free(copy);
    return 0;
}
