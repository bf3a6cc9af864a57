#!/bin/bash
# check_spirv.sh SPIRV_VAL FOLDER -- every .spv of a folder is valid for Vulkan 1.1, which
# is all that the Vulkan backend asks of a driver.
set -u

failed=0 n=0
for blob in "$2"/*.spv; do
    [ -e "$blob" ] || break
    "$1" --target-env vulkan1.1 "$blob" || { echo "$blob is not valid"; failed=1; }
    n=$((n + 1))
done
echo "$n shaders"
[ "$n" -gt 0 ] && [ $failed -eq 0 ]
