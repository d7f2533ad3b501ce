# Variants of bad_plugin.c, each in a directory of its own: ${CMAKE_BINARY_DIR}/bad_plugins/<fault>/<fault>.so
function(bosskit_bad_plugin fault)
  add_library(bad_plugin_${fault} MODULE ${CMAKE_CURRENT_SOURCE_DIR}/plugin/bad_plugin.c)
  target_compile_definitions(bad_plugin_${fault} PRIVATE ${ARGN})
  target_link_libraries(bad_plugin_${fault} PRIVATE bosskit)
  set_target_properties(bad_plugin_${fault} PROPERTIES PREFIX "" OUTPUT_NAME ${fault} C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bad_plugins/${fault})
  add_dependencies(test_bad_plugins bad_plugin_${fault})
endfunction()

foreach(fault abi no_module module_size empty size kind iface table_size flags better member newer unresolved init
        default bounds fraction offset type option_name reserved_name twice enum_default choice_twice ints_default)
  string(TOUPPER ${fault} macro)
  bosskit_bad_plugin(${fault} FAULT_${macro})
endforeach()
bosskit_bad_plugin(name "FAULT_NAME=\"No-Good\"")
bosskit_bad_plugin(steady)
bosskit_bad_plugin(copy)
add_dependencies(test_registry bad_plugin_steady)
add_dependencies(test_cli_plugins bosskit_program bad_plugin_steady bad_plugin_abi)
