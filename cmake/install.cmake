# cmake --install: the program, the library, its header, and the two ways to find them.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/erne)

install(TARGETS erne EXPORT erneTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES runtime/include/erne.h runtime/include/erne_measure.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET erne_cli)
  install(TARGETS erne_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# find_package(erne)
install(EXPORT erneTargets NAMESPACE erne:: DESTINATION ${package_dir})
configure_package_config_file(cmake/erneConfig.cmake.in erneConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(erneConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/erneConfig.cmake
              ${CMAKE_BINARY_DIR}/erneConfigVersion.cmake
              cmake/dependencies.cmake cmake/FindOneDNN.cmake
        DESTINATION ${package_dir})

# pkg-config erne: the library is static, so whoever links it links what it needs.
# Its prefix is relative to the file, so that an installed tree can be moved.
file(RELATIVE_PATH ERNE_PC_UP /root/${CMAKE_INSTALL_LIBDIR}/pkgconfig /root/)
set(ERNE_PC_LIBS "-lm ${CMAKE_THREAD_LIBS_INIT}")
if(CMAKE_DL_LIBS)
  string(APPEND ERNE_PC_LIBS " -l${CMAKE_DL_LIBS}")
endif()
if(ERNE_CPU)
  string(APPEND ERNE_PC_LIBS " ${OpenMP_C_FLAGS}")
  if(ERNE_ONEDNN)
    string(APPEND ERNE_PC_LIBS " -ldnnl")
  endif()
endif()
set(ERNE_PC_PICTURES "")
foreach(format IN LISTS ERNE_PICTURES_FOUND)
  string(TOUPPER ${format} name)
  list(JOIN ERNE_${name}_MODULES " " modules)
  string(APPEND ERNE_PC_PICTURES " ${modules}")
endforeach()
if(ERNE_VIDEO_FOUND)
  list(JOIN ERNE_VIDEO_MODULES " " modules)
  string(APPEND ERNE_PC_PICTURES " ${modules}")
endif()
configure_file(cmake/erne.pc.in erne.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/erne.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
