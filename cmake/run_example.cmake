# Runs PROGRAM in the fresh directory DIRECTORY; counts as one case.
file(REMOVE_RECURSE ${DIRECTORY})
file(MAKE_DIRECTORY ${DIRECTORY})
execute_process(COMMAND ${PROGRAM} WORKING_DIRECTORY ${DIRECTORY} RESULT_VARIABLE code)
file(REMOVE_RECURSE ${DIRECTORY})
if(NOT code EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} ended with ${code}")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -E echo "cases: 1")
