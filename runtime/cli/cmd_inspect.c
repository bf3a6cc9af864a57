/* cmd_inspect.c -- erne inspect: what a model file holds. */
#include "runtime/cli/cli_io.h"
#include "runtime/cli/cli_model.h"

int cmd_inspect(struct cli_args *args, struct erne_error *err)
{
    struct erne_error put_err = { 0 };
    const char *path = NULL;
    int st = cli_model_path(&path, args, 0, err);

    if (st < 0)
        return st;
    st = erne_file_inspect(path,
                           args->json      ? ERNE_INSPECT_JSON
                           : args->tensors ? ERNE_INSPECT_TENSORS
                                           : ERNE_INSPECT_TEXT,
                           cli_write, &put_err, err);
    if (put_err.status < 0) /* says more than that the report failed */
        *err = put_err;
    return st;
}
