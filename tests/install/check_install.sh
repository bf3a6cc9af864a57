#!/bin/sh
# check_install.sh SOURCE_DIR BUILD_DIR GENERATOR CC [FLAG...] -- installs a build to a
# scratch prefix, moves it, and builds consumer/ against it in both usual ways.
set -eu
source=$1/consumer
build=$2
generator=$3
cc=$4
shift 4
flags=$*

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# quietly COMMAND... -- shows what the command printed only if it fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 || {
        cat "$scratch/log"
        exit 1
    }
}

quietly cmake --install "$build" --prefix "$scratch/first"
prefix=$scratch/moved # nothing installed may remember where it was put
mv "$scratch/first" "$prefix"

pc=$(find "$prefix" -name erne.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# Not quoted: both are lists of options.
# shellcheck disable=SC2046,SC2086
"$cc" $flags "$source/consumer.c" -o "$scratch/by_pkg_config" \
    $(pkg-config --cflags --libs erne)
"$scratch/by_pkg_config" "$(pkg-config --modversion erne)"

quietly cmake -G "$generator" -S "$source" -B "$scratch/build" \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS="$flags"
quietly cmake --build "$scratch/build"
"$scratch/build/consumer" "$(pkg-config --modversion erne)"
# A project in C++ alone.
quietly cmake -G "$generator" -S "$source" -B "$scratch/cxx" -DCONSUMER_LANGUAGE=CXX \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_FLAGS="$flags" \
    -DCMAKE_C_FLAGS="$flags"
quietly cmake --build "$scratch/cxx"
"$scratch/cxx/consumer" "$(pkg-config --modversion erne)"

program=$prefix/bin/erne
"$program" --version
if [ -n "$(find "$prefix/include" -type f ! -name erne.h ! -name erne_measure.h)" ]; then
    echo "more than the public headers were installed"
    exit 1
fi
