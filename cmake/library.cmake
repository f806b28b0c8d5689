# The products: libstrata.so, libstrata.a and how other projects find them.

# libstrata.so. Hidden visibility leaves only what strata.h marks STRATA_API.
add_library(strata SHARED $<TARGET_OBJECTS:strata_objects>)
add_library(strata::strata ALIAS strata)
set_target_properties(strata PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0)
target_include_directories(strata INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(strata PRIVATE strata_flags PkgConfig::liblz4 PkgConfig::libzstd
                      Threads::Threads)
set_target_properties(strata PROPERTIES LINKER_LANGUAGE C)

# libstrata.a. An archive has no visibility, so its objects are linked into one and all names but
# strata_* are made local: a program may have its own buffer_append().
set(archive ${PROJECT_BINARY_DIR}/lib/libstrata.a)
set(one_object ${PROJECT_BINARY_DIR}/lib/strata.o)
add_custom_command(
    OUTPUT ${archive}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/lib
    COMMAND ${CMAKE_LINKER} -r -o ${one_object} $<TARGET_OBJECTS:strata_objects>
    COMMAND ${CMAKE_OBJCOPY} --wildcard "--keep-global-symbol=strata_*" ${one_object}
    COMMAND ${CMAKE_COMMAND} -E remove -f ${archive}
    COMMAND ${CMAKE_AR} rcs ${archive} ${one_object}
    COMMAND ${CMAKE_COMMAND} -E remove -f ${one_object}
    DEPENDS strata_objects $<TARGET_OBJECTS:strata_objects>
    COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Linking the engine into one object: libstrata.a")
add_custom_target(strata_archive ALL DEPENDS ${archive})
add_library(strata_static INTERFACE)
add_dependencies(strata_static strata_archive)
target_include_directories(strata_static INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(strata_static INTERFACE ${archive} PkgConfig::liblz4 PkgConfig::libzstd
                      Threads::Threads)

install(FILES ${PROJECT_SOURCE_DIR}/include/strata.h ${PROJECT_SOURCE_DIR}/include/strata_keys.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS strata EXPORT strata_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Relative to the prefix where they can be, so that an installed tree may be moved.
foreach(kind LIBDIR INCLUDEDIR)
    string(TOLOWER ${kind} variable)
    if(IS_ABSOLUTE ${CMAKE_INSTALL_${kind}})
        set(pc_${variable} ${CMAKE_INSTALL_${kind}})
    else()
        set(pc_${variable} "\${prefix}/${CMAKE_INSTALL_${kind}}")
    endif()
endforeach()
configure_file(cmake/strata.pc.in ${PROJECT_BINARY_DIR}/strata.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/strata.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/strata)
configure_package_config_file(cmake/strataConfig.cmake.in ${PROJECT_BINARY_DIR}/strataConfig.cmake
    INSTALL_DESTINATION ${package_dir} PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/strataConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/strataConfig.cmake ${PROJECT_BINARY_DIR}/strataConfigVersion.cmake
    DESTINATION ${package_dir})
install(EXPORT strata_targets NAMESPACE strata:: FILE strataTargets.cmake
    DESTINATION ${package_dir})
