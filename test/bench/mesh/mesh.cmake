# Of mesh/run.
add_executable(km-bench-heartbeats mesh/heartbeats.c)
target_link_libraries(km-bench-heartbeats PRIVATE km_flags km_internal)
set_target_properties(km-bench-heartbeats PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
if(KM_PYTHON3)
  km_add_script_test(bench_mesh_smoke LABELS bench TIMEOUT 300
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/mesh/smoke_test.py)
endif()
