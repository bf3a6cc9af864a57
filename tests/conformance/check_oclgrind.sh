#!/bin/bash
# check_oclgrind.sh ERNE_CHECK [OPERATOR]... -- small cases of the OpenCL kernels in
# Oclgrind, a simulator that sees invalid accesses and data races. 77: no Oclgrind here.
# (Its check of what nobody wrote does not know the instruction `freeze`, which its own
# compiler makes, in 21.10.)
set -u

icd=${OCLGRIND_ICD:-/usr/lib/oclgrind/liboclgrind-rt-icd.so}
[ -e "$icd" ] || { echo "no $icd"; exit 77; }
check=$1
shift

# What to try of an operator: parts of "op/lane/impl/case", separated by |.
declare -A filter=(
    [embed]='scalar/cells/w4-g64a T2' [rms_norm]='scalar/rows/T2'
    [layer_norm]='scalar/rows/T2' [matmul]='scalar/tiles/w4-g64a T3 '
    [rope]='scalar/pairs/interleaved T2' [segment_attention]='scalar/blocks/P1+6'
    [kv_append]='scalar/elements/f16|scalar/elements/q4 T3 '
    [attention]='scalar/pages/f16 T3 |scalar/pages/q4 T3 '
    [gather_rows]='scalar/elements/' [scatter_rows]='scalar/elements/'
    [moe_route]='scalar/tokens/T3 ' [moe_ffn]='scalar/slots/w4-g64 T2'
)
[ $# -gt 0 ] || set -- "${!filter[@]}"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
for op in "$@"; do
    IFS='|' read -ra parts <<<"${filter[$op]}"
    for part in "${parts[@]}"; do
        : >"$log"
        OCL_ICD_VENDORS=$icd OCLGRIND_DATA_RACES=1 OCLGRIND_LOG=$log \
            "$check" --backend opencl:0 --op "$op" --rounds 1 --filter "$part" >/dev/null
        status=$?
        if [ $status -ne 0 ] || [ -s "$log" ]; then
            echo "$op: $part: status $status"
            head -40 "$log"
            failed=1
        else
            echo "$op: $part: clean"
        fi
    done
done
exit $failed
