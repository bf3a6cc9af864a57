# erne_embed(target symbol file): the bytes of a file as an array of the target, so that
# the library needs no files beside it:
#     extern const unsigned char symbol[];   aligned to 16, a zero byte behind the last
#     extern const size_t symbol_bytes;      without that zero
# The array is written when the target is built; run as a script, this file does that.
if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${EMBED_FILE} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  # Twelve bytes a line.
  string(REGEX REPLACE "(............................................................)"
         "\\1\n" bytes "${bytes}")
  file(WRITE ${EMBED_OUT} "#include <stddef.h>\n"
    "extern const unsigned char ${EMBED_SYMBOL}[];\n"
    "extern const size_t ${EMBED_SYMBOL}_bytes;\n"
    "_Alignas(16) const unsigned char ${EMBED_SYMBOL}[] = {\n${bytes}0 };\n"
    "const size_t ${EMBED_SYMBOL}_bytes = sizeof ${EMBED_SYMBOL} - 1;\n")
  return()
endif()

set(ERNE_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
function(erne_embed target symbol file)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embed/${symbol}.c)
  cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DEMBED_FILE=${file} -DEMBED_OUT=${out}
            -DEMBED_SYMBOL=${symbol} -P ${ERNE_EMBED_SCRIPT}
    DEPENDS ${file} ${ERNE_EMBED_SCRIPT}
    COMMENT "Embedding ${symbol}" VERBATIM)
  # A rule belongs to the folder that has it, and the target may be of another.
  add_custom_target(${symbol}_embed DEPENDS ${out})
  add_dependencies(${target} ${symbol}_embed)
  target_sources(${target} PRIVATE ${out})
endfunction()
