# `cmake --install`: program, library, headers, and what builders of plugins need (bosskit.pc, bosskit-config.cmake).
# Plugins install themselves (plugins/CMakeLists.txt). Paths in the two package files count from the file itself, so an
# installed tree may be moved.
include(CMakePackageConfigHelpers)
set(BOSSKIT_SOVERSION 1)
set(bosskit_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bosskit)
file(RELATIVE_PATH BOSSKIT_PC_PREFIX /x/${CMAKE_INSTALL_LIBDIR}/pkgconfig /x)
string(REGEX REPLACE "/$" "" BOSSKIT_PC_PREFIX "${BOSSKIT_PC_PREFIX}")

install(TARGETS bosskit bosskit_program
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/core/include/bosskit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

configure_file(${CMAKE_CURRENT_LIST_DIR}/bosskit.pc.in ${CMAKE_BINARY_DIR}/bosskit.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/bosskit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/bosskit-config.cmake.in
  ${CMAKE_BINARY_DIR}/bosskit-config.cmake
  INSTALL_DESTINATION ${bosskit_cmake_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/bosskit-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/bosskit-config.cmake ${CMAKE_BINARY_DIR}/bosskit-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/BosskitPlugin.cmake ${CMAKE_CURRENT_LIST_DIR}/SourceDigest.cmake
  ${CMAKE_CURRENT_LIST_DIR}/plugin.map
  DESTINATION ${bosskit_cmake_dir})
