# platforms/devices/*.yaml inside the library, in the order of their names, and the table
# that lists them: erne_profile_texts of runtime/profile.h.
file(GLOB profiles CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/platforms/devices/*.yaml)
list(SORT profiles)
set(arrays "")
set(rows "")
foreach(path ${profiles})
  get_filename_component(name ${path} NAME_WLE)
  string(MAKE_C_IDENTIFIER profile_${name} id)
  erne_embed(erne ${id} ${path})
  string(APPEND arrays "extern const unsigned char ${id}[];\n"
                       "extern const size_t ${id}_bytes;\n")
  string(APPEND rows "    { \"${name}\", ${id}, &${id}_bytes },\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/device_profiles.c @ONLY CONTENT
"/* Made by cmake/profiles.cmake from platforms/devices. */
#include \"runtime/profile.h\"

@arrays@
const struct erne_profile_text erne_profile_texts[] = {
@rows@    { 0 },
};
")
target_sources(erne PRIVATE ${CMAKE_BINARY_DIR}/device_profiles.c)
