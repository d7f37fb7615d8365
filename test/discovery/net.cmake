# HTTP, PKARR relays, DNS: the pure parts, then the whole of them on loopback sockets.
foreach(name dns_retry dns_cache pkarr_newest pkarr_publisher)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c)
endforeach()
foreach(name http_client pkarr_source dns_source)
  km_add_test(discovery_${name}_test SOURCES ${name}_io_test.c net_lab.c LABELS net)
endforeach()
add_executable(discovery_http_tls_test http_tls_test.c net_lab.c)
set_target_properties(discovery_http_tls_test PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)
target_link_libraries(discovery_http_tls_test PRIVATE km_flags km_internal km_dep::cmocka)
target_compile_options(discovery_http_tls_test PRIVATE -UNDEBUG)
km_add_script_test(discovery_http_tls LABELS net
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/http_tls_test.sh $<TARGET_FILE:discovery_http_tls_test>)
