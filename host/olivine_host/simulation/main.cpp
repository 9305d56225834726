// Drives the clock of harness.v under Verilator; everything else is in the harness.

#include "Vharness.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
#if VM_TRACE
    context.traceEverOn(true);
#endif
    Vharness top{&context};
    while (!context.gotFinish()) {
        top.clk = 0;
        top.eval();
        context.timeInc(5);
        top.clk = 1;
        top.eval();
        context.timeInc(5);
    }
    top.final();
    return 0;
}
