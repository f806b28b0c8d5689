# Test programs. Unit tests and examples are ctests; the longer programs (tests/*/t_*.c) are run by
# script/test, whose table says with which arguments.
pkg_check_modules(cmocka IMPORTED_TARGET cmocka)
if(NOT cmocka_FOUND)
    message(FATAL_ERROR "cmocka is missing; script/setup installs what the tests need")
endif()

# The engine with its internal names, for tests only.
add_library(strata_internal STATIC $<TARGET_OBJECTS:strata_objects>)
target_include_directories(strata_internal PUBLIC src include)
target_link_libraries(strata_internal PUBLIC strata_flags PkgConfig::liblz4 PkgConfig::libzstd
                      Threads::Threads)
set_target_properties(strata_internal PROPERTIES LINKER_LANGUAGE C)

# What several test programs share: fault injection, the simulated machine, the model.
file(GLOB support_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/lib/*.c
     ${PROJECT_SOURCE_DIR}/tests/sim/*.c ${PROJECT_SOURCE_DIR}/tests/model/*.c)
list(FILTER support_sources EXCLUDE REGEX "/t_[^/]*\\.c$")
add_library(strata_test_support STATIC ${support_sources})
target_include_directories(strata_test_support PUBLIC tests)
# Each needs the other: the support calls the engine, whose allocations it may be asked to fail.
target_link_libraries(strata_test_support PUBLIC strata_internal PkgConfig::cmocka
                      PkgConfig::libxxhash)
target_link_libraries(strata_internal INTERFACE strata_test_support)
target_link_options(strata_test_support INTERFACE
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc)

function(add_test_program name source)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE strata_test_support strata_internal)
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
endfunction()

file(GLOB unit_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/test_*.c)
foreach(source ${unit_sources})
    get_filename_component(name ${source} NAME_WE)
    add_test_program(${name} ${source})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
endforeach()

# The command's own files, without main(), for the tests of its parts.
file(GLOB cli_test_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cli/test_*.c)
if(cli_test_sources)
    set(cli_sources ${tool_sources})
    list(FILTER cli_sources EXCLUDE REGEX "/tools/main\\.c$")
    add_library(strata_cli STATIC ${cli_sources})
    target_include_directories(strata_cli PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(strata_cli PUBLIC strata_flags strata_static PkgConfig::jansson)
endif()
foreach(source ${cli_test_sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE strata_cli PkgConfig::cmocka)
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 60)
endforeach()

file(GLOB program_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/*/t_*.c)
foreach(source ${program_sources})
    get_filename_component(name ${source} NAME_WE)
    add_test_program(${name} ${source})
endforeach()

# Examples link the shared library, as a user's program would, and run in an empty directory.
file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.c)
foreach(source ${example_sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(example_${name} ${source})
    set_target_properties(example_${name} PROPERTIES
        OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
    target_link_libraries(example_${name} PRIVATE strata_flags strata::strata)
    add_test(NAME example_${name}
        COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:example_${name}>
                -DDIRECTORY=${PROJECT_BINARY_DIR}/examples/run_${name}
                -P ${PROJECT_SOURCE_DIR}/cmake/run_example.cmake)
    set_tests_properties(example_${name} PROPERTIES LABELS example TIMEOUT 60)
endforeach()
