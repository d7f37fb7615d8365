# Multicast DNS: the parts, then the real thing among others on one network.
foreach(name mdns mdns_ask mdns_hear mdns_hostile)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c mdns_lab.c)
endforeach()
foreach(name mdns_packet mdns_sign)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c)
endforeach()

# Driven by mdns_test.py.
add_executable(mdns_node mdns_node.c)
target_link_libraries(mdns_node PRIVATE km_flags km_internal)
set_target_properties(mdns_node PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)

km_add_fuzzer(fuzz_mdns fuzz_mdns.c CORPUS corpus/mdns)

if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  find_program(KM_PYTHON3 python3)
  if(KM_PYTHON3)
    km_add_script_test(discovery_mdns_lan LABELS netlab TIMEOUT 300
      COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/mdns_test.py)
    # Builds real iroh the first time.
    km_add_script_test(discovery_mdns_iroh LABELS netlab interop TIMEOUT 1800
      COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_SOURCE_DIR}/mdns_iroh_test.py)
  endif()
endif()
