# Of sync/run.
add_executable(km-bench-sync ${CMAKE_CURRENT_LIST_DIR}/bench.c
  ${PROJECT_SOURCE_DIR}/test/store/sim_pair.c)
target_link_libraries(km-bench-sync PRIVATE km_flags km_internal km_dep::sqlite)
set_target_properties(km-bench-sync PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
if(KM_PYTHON3)
  km_add_script_test(bench_sync_smoke LABELS bench TIMEOUT 300
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/smoke_test.py)
endif()
