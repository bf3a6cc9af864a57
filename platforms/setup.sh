#!/bin/sh
# setup.sh -- from a fresh clone to a result, in one command, on Debian 12 and later.
#
#   platforms/setup.sh demo      build, convert a real checkpoint, generate text with it
#   platforms/setup.sh test      build in every way that matters, and run the tests
#   platforms/setup.sh packages  print the Debian packages that these two need
#
# Installs what is missing by apt, as root or through sudo; other systems get the list.
# CONTRIBUTING.md says what to do without this script.
set -eu
cd "$(dirname "$0")/.."

build_packages='cmake gcc libc6-dev ninja-build pkgconf
    libdnnl-dev libjansson-dev libjpeg-dev libpcre2-dev libpng-dev libutf8proc-dev
    libwebp-dev libxxhash-dev libyaml-dev
    glslc libvulkan-dev opencl-headers'
demo_packages='ca-certificates python3 python3-pip'
# FFmpeg's (libav*, libswscale) are for video files, which a build may lack. Mesa and PoCL
# compute on the CPU what is written for GPUs.
test_packages='clang g++ git libavcodec-dev libavformat-dev libavutil-dev
    libclang-rt-dev libcmocka-dev libomp-dev libswscale-dev universal-ctags
    mesa-vulkan-drivers ocl-icd-libopencl1 pocl-opencl-icd spirv-tools
    vulkan-validationlayers'
# Of tests that are left out without them; not every Debian has these.
extra_packages='oclgrind strace valgrind'

# What `test` builds and runs; CMakePresets.json describes each. The cheap and special
# ones come first, dev, which has all the tests and the sanitizers, last.
test_presets='minimal release tsan fuzz dev'

say() { printf '\n== %s\n' "$*"; }

die() {
    echo "setup.sh: $*" >&2
    exit 1
}

# missing PACKAGE... -- prints those that are not installed.
missing() {
    for package in "$@"; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
        [ "$status" = installed ] || printf ' %s' "$package"
    done
}

# offered PACKAGE... -- prints those that this system could install.
offered() {
    for package in "$@"; do
        ! apt-cache show "$package" >/dev/null 2>&1 || printf ' %s' "$package"
    done
}

# as_root COMMAND...
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# install PACKAGE... -- makes sure that they are there, and is quick when they are.
install() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        die "no apt here. Install what your system calls these, then use the presets
  (CONTRIBUTING.md): $*"
    fi
    needed=$(missing "$@")
    [ -n "$needed" ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "neither root nor sudo. As root: apt-get install$needed"
    fi
    say "apt-get install$needed"
    as_root apt-get -q -o Acquire::Retries=3 update
    # Not quoted: a list of names.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
        install --no-install-recommends $needed
}

# build PRESET [CMAKE_OPTION...] -- configures and builds build/PRESET.
build() {
    preset=$1
    shift
    say "build $preset"
    cmake --preset "$preset" "$@"
    cmake --build --preset "$preset" --parallel "$(nproc)"
}

demo() {
    # shellcheck disable=SC2086
    install $build_packages $demo_packages
    build release -DERNE_TESTS=OFF -DERNE_WERROR=OFF
    say "demo"
    models/demo.sh build/release
}

run_tests() {
    # shellcheck disable=SC2086
    install $build_packages $test_packages
    # shellcheck disable=SC2046,SC2086
    install $(offered $extra_packages)
    for preset in $test_presets; do
        build "$preset" -DERNE_TESTS=ON -DERNE_WERROR=ON
        say "test $preset"
        ctest --preset "$preset" --parallel "$(nproc)"
    done
}

case ${1-} in
demo) demo ;;
test) run_tests ;;
packages)
    # shellcheck disable=SC2086
    printf '%s\n' $build_packages $demo_packages $test_packages | sort -u
    ;;
*) die "usage: platforms/setup.sh demo | test | packages" ;;
esac
