# The link emulator, and its tests. Included by CMakeLists.txt here.
if(NOT CMAKE_SYSTEM_NAME STREQUAL Linux)
  return()
endif()
set(km_netlab_link ${PROJECT_SOURCE_DIR}/test/link/link.c link_pipe.c)
km_add_test(netlab_link_pipe_test SOURCES link_pipe_test.c link_frame.c ${km_netlab_link})
km_add_test(netlab_link_settings_test
  SOURCES link_settings_test.c link_settings.c ${km_netlab_link})
km_add_program(km-netlab-link link_io.c link_tap_io.c link_frame.c link_settings.c
  ${km_netlab_link})

# Transfers that are measured, on the public API.
km_add_program(km-netlab-transfer transfer_io.c transfer_options.c transfer_flow.c)
km_add_test(netlab_transfer_flow_test SOURCES transfer_flow_test.c transfer_flow.c)

# Those who mean no good.
km_add_program(km-netlab-hostile-peer hostile_peer_io.c)
km_add_program(km-netlab-mesh-hostile
  mesh_hostile_io.c mesh_hostile_commands.c mesh_hostile_frames.c)
add_library(km-netlab-clock SHARED hostile_clock.c)
target_compile_definitions(km-netlab-clock PRIVATE _GNU_SOURCE)
target_compile_options(km-netlab-clock PRIVATE -std=c11 -Wall -Wextra -Wshadow)
target_link_libraries(km-netlab-clock PRIVATE ${CMAKE_DL_LIBS})
set_target_properties(km-netlab-clock PROPERTIES
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)

find_program(KM_PYTHON3 python3)
if(KM_PYTHON3)
  km_add_script_test(netlab_link LABELS netlab TIMEOUT 120
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/link_test.py)
  if(TARGET km_interop_peer)
    km_add_script_test(netlab_iroh LABELS netlab interop TIMEOUT 600
      COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/iroh_test.py)
  endif()
  # It measures: nothing beside it.
  km_add_script_test(netlab_scenarios LABELS netlab TIMEOUT 1200
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/scenarios)
  set_tests_properties(netlab_scenarios PROPERTIES RUN_SERIAL TRUE)
endif()
