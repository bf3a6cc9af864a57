# The suffix of a kernel file decides its compiler flags: level_avx2.c is built for AVX2.
# A file whose instruction set the target lacks compiles to an empty init.
include(CheckCCompilerFlag)
set(ERNE_ISAS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(ERNE_ISAS avx2 avxvnni avx512)
  set(ERNE_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
  check_c_compiler_flag(-mavxvnni ERNE_HAVE_MAVXVNNI) # gcc 10 has it not
  if(ERNE_HAVE_MAVXVNNI)
    set(ERNE_ISA_FLAGS_avxvnni ${ERNE_ISA_FLAGS_avx2} -mavxvnni)
  endif()
  set(ERNE_ISA_FLAGS_avx512ymm ${ERNE_ISA_FLAGS_avx2} -mavx512f -mavx512vl -mavx512vnni
      -mprefer-vector-width=256)
  set(ERNE_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma
      -mf16c -mprefer-vector-width=512)
  set(ERNE_ISA_FLAGS_avx512bf16 ${ERNE_ISA_FLAGS_avx512} -mavx512bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(ERNE_ISAS neon i8mm)
  set(ERNE_ISA_FLAGS_neon -march=armv8.2-a+dotprod)
  set(ERNE_ISA_FLAGS_i8mm -march=armv8.2-a+dotprod+i8mm)
endif()

function(erne_isa_flags)
  foreach(file IN LISTS ARGN)
    string(REGEX REPLACE "^.*_([a-z0-9]+)\\.c$" "\\1" isa ${file})
    if(DEFINED ERNE_ISA_FLAGS_${isa})
      set_source_files_properties(${file} TARGET_DIRECTORY erne PROPERTIES COMPILE_OPTIONS
                                  "${ERNE_ISA_FLAGS_${isa}}")
    endif()
  endforeach()
endfunction()
