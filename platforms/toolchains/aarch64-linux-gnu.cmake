# Cross-builds for 64-bit ARM on Debian; the tests run in qemu. Needs, beside the usual:
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install gcc-aarch64-linux-gnu qemu-user-static libgomp1:arm64
#       lib{cmocka,jansson,jpeg,pcre2,png,utf8proc,webp,xxhash,yaml}-dev:arm64
# Not libdnnl-dev:arm64: it overwrites a header of the machine's own.
# By hand: qemu-aarch64-static PROGRAM, without -L, whose dynamic loader is of another
# glibc than the libraries of arm64: the first thread of any program then never starts.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
