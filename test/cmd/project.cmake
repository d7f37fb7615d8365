# A project's configuration, its services' files, and the commands that make and check it.
if(NOT TARGET km_node_project)
  return()
endif()
foreach(name yaml project_config config_edit service_files)
  km_add_test(cmd_${name}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/${name}_test.c)
  if(TARGET cmd_${name}_test)
    target_link_libraries(cmd_${name}_test PRIVATE km_node_project_commands km_node_project)
  endif()
endforeach()
target_compile_definitions(cmd_project_config_test PRIVATE
  KM_CONFIG_MANUAL="${PROJECT_SOURCE_DIR}/docs/man/km-node-config.5")

km_add_fuzzer(fuzz_yaml ${CMAKE_CURRENT_LIST_DIR}/fuzz_yaml.c
  CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/yaml)
if(TARGET fuzz_yaml)
  target_link_libraries(fuzz_yaml PRIVATE km_node_project)
endif()

if(KM_PYTHON3)
  km_add_script_test(cmd_project
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/project_test.py LABELS cmd TIMEOUT 300)
endif()
