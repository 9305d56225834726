// A board with DDR3 memory in a simulator: as board.v, with stand-ins for the FPGA's primitives. Only for Verilator.
//
// `dram_clk` is the clock of the memory's edges, `dram_pin_clk` that in which the PHY's delays are set up.
//
// Macros as of board.v.

`default_nettype none

module harness(
    input wire core_clk, dram_clk, dram_pin_clk, locked, rx,
    output wire tx,
    output wire [3:0] leds,
    output wire [31:0] errors, restarts, refreshes, activates, reads, writes
);
    wire clk, cke, odt, ras_n, cas_n, we_n;
    wire [`OLIVINE_PINS__A-1:0] a;
    wire [`OLIVINE_PINS__BA-1:0] ba;
    wire [`OLIVINE_PINS__DM-1:0] dm, dqs_o, dqs_oe, dqs_i;
    wire [`OLIVINE_PINS__DQ_O-1:0] dq_o, dq_oe, dq_i;

    `OLIVINE_TOP board (
        .core_clk(core_clk), .dram_fast_clk(dram_clk), .dram_init_clk(dram_pin_clk), .locked(locked), .rx(rx), .tx(tx),
        .leds(leds), .pins__clk(clk), .pins__cke(cke), .pins__odt(odt), .pins__ras_n(ras_n), .pins__cas_n(cas_n),
        .pins__we_n(we_n), .pins__a(a), .pins__ba(ba), .pins__dm(dm), .pins__dq_o(dq_o), .pins__dq_oe(dq_oe),
        .pins__dq_i(dq_i), .pins__dqs_o(dqs_o), .pins__dqs_oe(dqs_oe), .pins__dqs_i(dqs_i)
    );

    olivine_ddr3 #(`OLIVINE_CHIP) chip (
        .clk(clk), .cke(cke), .odt(odt), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .a(a), .ba(ba), .dm(dm),
        .dq_o(dq_o), .dq_oe(dq_oe), .dq_i(dq_i), .dqs_o(dqs_o), .dqs_oe(dqs_oe), .dqs_i(dqs_i), .errors(errors),
        .restarts(restarts), .refreshes(refreshes), .activates(activates), .reads(reads), .writes(writes)
    );
endmodule

`default_nettype wire
