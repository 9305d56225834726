// A board in a simulator: the FPGA's top, and the memory chip at its pins. board.cpp drives the clocks and the serial
// line. Only for Verilator.
//
// Macros (from the build): OLIVINE_TOP the top's module; OLIVINE_CHIP, if the board has a chip, its parameters, and OLIVINE_PINS__A
// and so on the widths of its pins.

`default_nettype none

module harness(
    input wire core_clk, dram_clk, dram_pin_clk, locked, rx,
    output wire tx,
    output wire [3:0] leds,
    output wire [31:0] errors, restarts, refreshes, activates, reads, writes
);
`ifdef OLIVINE_CHIP
    wire clk, cke, cs_n, ras_n, cas_n, we_n, dq_oe;
    wire [`OLIVINE_PINS__A-1:0] a;
    wire [`OLIVINE_PINS__BA-1:0] ba;
    wire [`OLIVINE_PINS__DM-1:0] dm;
    wire [`OLIVINE_PINS__DQ_O-1:0] dq_o, dq_i;

    `OLIVINE_TOP board (
        .core_clk(core_clk), .dram_clk(dram_clk), .dram_pin_clk(dram_pin_clk), .locked(locked), .rx(rx), .tx(tx),
        .leds(leds), .pins__clk(clk), .pins__cke(cke), .pins__cs_n(cs_n), .pins__ras_n(ras_n), .pins__cas_n(cas_n),
        .pins__we_n(we_n), .pins__a(a), .pins__ba(ba), .pins__dm(dm), .pins__dq_o(dq_o), .pins__dq_oe(dq_oe),
        .pins__dq_i(dq_i)
    );

    olivine_sdram #(`OLIVINE_CHIP) chip (
        .clk(clk), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .a(a), .ba(ba), .dm(dm),
        .dq_o(dq_o), .dq_oe(dq_oe), .dq_i(dq_i), .errors(errors), .restarts(restarts), .refreshes(refreshes),
        .activates(activates), .reads(reads), .writes(writes)
    );
`else
    `OLIVINE_TOP board (.core_clk(core_clk), .locked(locked), .rx(rx), .tx(tx), .leds(leds));
    assign {errors, restarts, refreshes, activates, reads, writes} = 0;
`endif
endmodule
