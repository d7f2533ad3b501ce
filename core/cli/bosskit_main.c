/* The program: everything is in libbosskit. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return bk_main(argc, argv);
}
