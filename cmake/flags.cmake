# strata_flags: the warnings, hardening and instrumentation that every target of the tree gets.
include(CheckCCompilerFlag)

add_library(strata_flags INTERFACE)
target_compile_definitions(strata_flags INTERFACE _GNU_SOURCE)
target_compile_options(strata_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla)
# Names and error texts are cut to their buffers on purpose.
check_c_compiler_flag(-Wformat-truncation has_format_truncation)
if(has_format_truncation)
    target_compile_options(strata_flags INTERFACE -Wno-format-truncation)
endif()
if(STRATA_WERROR)
    target_compile_options(strata_flags INTERFACE -Werror)
endif()

# Paths in asserts and debug information are relative to the tree: builds are the same anywhere.
check_c_compiler_flag(-ffile-prefix-map=a=b has_prefix_map)
if(has_prefix_map)
    target_compile_options(strata_flags INTERFACE -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
endif()

target_compile_options(strata_flags INTERFACE -fstack-protector-strong)
target_link_options(strata_flags INTERFACE -Wl,-z,relro -Wl,-z,now)
if(NOT STRATA_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    # Needs optimisation, and hides faults from AddressSanitizer.
    target_compile_options(strata_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

if(STRATA_DEBUG)
    target_compile_definitions(strata_flags INTERFACE STRATA_DEBUG)
endif()
if(NOT STRATA_MUTANT STREQUAL "")
    target_compile_definitions(strata_flags INTERFACE STRATA_MUTANT=${STRATA_MUTANT})
endif()
if(STRATA_SANITIZE)
    set(sanitize -fsanitize=${STRATA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_compile_options(strata_flags INTERFACE ${sanitize})
    target_link_options(strata_flags INTERFACE ${sanitize})
    # gcc no longer follows values through instrumented code; the release build still warns.
    check_c_compiler_flag(-Wmaybe-uninitialized has_maybe_uninitialized)
    if(has_maybe_uninitialized)
        target_compile_options(strata_flags INTERFACE -Wno-maybe-uninitialized)
    endif()
endif()
if(STRATA_COVERAGE)
    target_compile_options(strata_flags INTERFACE --coverage)
    target_link_options(strata_flags INTERFACE --coverage)
endif()
