# bosskit_add_plugin(NAME KIND kind SOURCES a.c b.c [LIBRARIES ...] [OPTIONS ...])
#
# A MODULE library NAME.so without "lib" prefix that exports only `bk_module`; its source digest is
# taken over SOURCES (and HEADERS) at build time, so a changed plugin never reuses a cached stage.
set(BOSSKIT_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR})

function(bosskit_add_plugin name)
  cmake_parse_arguments(arg "" "KIND" "SOURCES;HEADERS;LIBRARIES;OPTIONS" ${ARGN})
  if(NOT arg_KIND OR NOT arg_SOURCES)
    message(FATAL_ERROR "bosskit_add_plugin(${name}): KIND and SOURCES are required")
  endif()
  set(target bosskit_${arg_KIND}_${name})
  set(absolute "")
  foreach(s IN LISTS arg_SOURCES arg_HEADERS)
    get_filename_component(s ${s} ABSOLUTE)
    list(APPEND absolute ${s})
  endforeach()
  set(digest ${CMAKE_CURRENT_BINARY_DIR}/${target}_digest.h)
  add_custom_command(OUTPUT ${digest}
    COMMAND ${CMAKE_COMMAND} "-DSOURCES=${absolute}" -DOUTPUT=${digest} -P ${BOSSKIT_CMAKE_DIR}/SourceDigest.cmake
    DEPENDS ${absolute} ${BOSSKIT_CMAKE_DIR}/SourceDigest.cmake VERBATIM)
  add_library(${target} MODULE ${arg_SOURCES} ${digest})
  set_source_files_properties(${arg_SOURCES} PROPERTIES OBJECT_DEPENDS ${digest})
  target_compile_options(${target} PRIVATE -include ${digest} ${arg_OPTIONS})
  if(TARGET bosskit)
    target_link_libraries(${target} PRIVATE bosskit ${arg_LIBRARIES})
  else()
    target_link_libraries(${target} PRIVATE bosskit::bosskit ${arg_LIBRARIES})
  endif()
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${name} C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins/${arg_KIND}s)
  target_link_options(${target} PRIVATE -Wl,--version-script=${BOSSKIT_CMAKE_DIR}/plugin.map)
  if(NOT BOSSKIT_SANITIZE)
    target_link_options(${target} PRIVATE -Wl,-z,defs)
  endif()
  if(COMMAND bosskit_install_plugin)
    bosskit_install_plugin(${target} ${arg_KIND})
  endif()
endfunction()
