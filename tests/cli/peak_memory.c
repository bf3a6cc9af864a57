/* peak_memory.c -- runs a program, and says how much memory it held at most.
 *
 * usage: peak_memory FILE PROGRAM ARGUMENT...    FILE gets the KiB; exits as the program
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage = { 0 };
    int status = 0;
    FILE *file;
    pid_t child;

    if (argc < 3)
        return 2;
    child = fork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return 126;
    getrusage(RUSAGE_CHILDREN, &usage);
    file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file) != 0)
        return 126;
    return WEXITSTATUS(status);
}
