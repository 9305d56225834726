// A single-data-rate SDRAM as data sheets describe it (JEDEC 21-C, 3.11.5.1): stores data and refuses what they forbid.
//
// Burst length 1, CAS latency 2 or 3, auto refresh, auto precharge, masks. Every violation is printed and counted in
// `errors`. On Icarus the data bus has its access and hold times and is X in between; Verilator knows no delays, there
// data changes with the clock. Parameters are picoseconds unless they are bits or counts.

module olivine_sdram #(
    parameter ROW_BITS = 13, COLUMN_BITS = 9, BANK_BITS = 2, DATA_BITS = 16,
    parameter T_RCD = 21000, T_RP = 21000, T_RAS = 45000, T_RC = 66000, T_RFC = 70000, T_RRD = 15000, T_WR = 15000,
    parameter T_MRD = 2, T_REFI = 7812500, POWER_UP = 200000000, REFRESHES = 8,
    parameter T_AC2 = 6000, T_AC3 = 5400, T_OH = 2500, T_CK2 = 10000, T_CK3 = 7500,
    parameter T_SETUP = 1500, T_HOLD = 800, T_REFRESH_LATE = 2
) (
    input clk, cke, cs_n, ras_n, cas_n, we_n,
    input [ROW_BITS-1:0] a,
    input [BANK_BITS-1:0] ba,
    input [DATA_BITS/8-1:0] dm,
    input [DATA_BITS-1:0] dq_o,
    input dq_oe,
    output reg [DATA_BITS-1:0] dq_i,
    output reg [31:0] errors, restarts, refreshes, activates, reads, writes
);
    localparam BANKS = 1 << BANK_BITS;
    reg [DATA_BITS-1:0] memory [0:(1 << (ROW_BITS + COLUMN_BITS + BANK_BITS)) - 1];

    // --- Time -------------------------------------------------------------------------------------------------------
    // 64 bits of picoseconds. What never happened happened long ago: time starts at an offset.
    reg [63:0] now, edge_at, changed_at, powered;
    reg seen;

    // --- State ------------------------------------------------------------------------------------------------------
    reg [BANKS-1:0] open;
    reg [ROW_BITS-1:0] row [0:BANKS-1];
    reg [63:0] activated [0:BANKS-1], precharged [0:BANKS-1], written [0:BANKS-1];
    reg [63:0] any_activated, refreshed, first_refresh;
    reg [7:0] since_mode;               // clocks since the mode register was set
    reg mode_set, precharged_all;
    reg [2:0] cas;
    reg [7:0] init_refreshes;

    // --- Data on its way out ----------------------------------------------------------------------------------------
    reg [1:0] coming;                   // bit i: read i + 1 clocks ago
    reg [DATA_BITS-1:0] word [0:1];
    reg [DATA_BITS/8-1:0] mask;
    reg driving;

    wire [3:0] command = cs_n ? 4'b0111 : {1'b0, ras_n, cas_n, we_n};
    localparam NOP = 4'b0111, ACTIVE = 4'b0011, READ = 4'b0101, WRITE = 4'b0100, PRECHARGE = 4'b0010,
        REFRESH = 4'b0001, MODE = 4'b0000, STOP = 4'b0110;

    integer bank, lane;
    reg [ROW_BITS+COLUMN_BITS+BANK_BITS-1:0] place;
    reg [DATA_BITS-1:0] out;
    reg drive_now;

    task fail(input [8*48:1] what);
        begin
            errors = errors + 1;
            if (errors <= 20) $display("SDRAM, %0d ps: %0s", now, what);
        end
    endtask

    // A limit of the data sheet: so much time since then, which may lie ahead (an auto precharge).
    task least(input [63:0] since, input [63:0] limit, input [8*48:1] what);
        if (now < since + limit) fail(what);
    endtask

    initial begin
        errors = 0; restarts = 0; refreshes = 0; activates = 0; reads = 0; writes = 0;
        seen = 0; open = 0; coming = 0; driving = 0; mode_set = 0; precharged_all = 0; init_refreshes = 0;
        since_mode = 255; cas = 0; dq_i = {DATA_BITS{1'bx}};
        edge_at = 0; changed_at = 0; any_activated = 0; refreshed = 0; powered = 0; first_refresh = 0;
        for (bank = 0; bank < BANKS; bank = bank + 1) begin
            activated[bank] = 0; precharged[bank] = 0; written[bank] = 0; row[bank] = 0;
        end
    end

    function [63:0] picoseconds(input dummy);
        // An offset, so that zero is long ago for every limit.
        picoseconds = $realtime * 1000.0 + 1000000000.0;
    endfunction

    // --- Setup and hold ---------------------------------------------------------------------------------------------
    always @(cke or cs_n or ras_n or cas_n or we_n or a or ba or dm or dq_oe or dq_o) begin
        now = picoseconds(0);
        if (seen && mode_set && now - edge_at < T_HOLD && now != edge_at) fail("hold");
        changed_at = now;
    end

    always @(posedge clk) begin
        now = picoseconds(0);
        if (!seen) powered = now;
        if (seen && mode_set && now - edge_at < (cas == 2 ? T_CK2 : T_CK3)) fail("clock is too fast for the latency");
        if (seen && now - changed_at < T_SETUP) fail("setup");
        edge_at = now;
        seen = 1;
        if (^{cke, cs_n, ras_n, cas_n, we_n} === 1'bx && now - powered > 1000000) fail("a command pin is X");

        // Data out: read CAS - 1 clocks ago.
        drive_now = cas == 2 ? coming[0] : coming[1];
        out = cas == 2 ? word[0] : word[1];
        for (lane = 0; lane < DATA_BITS / 8; lane = lane + 1)
            if (drive_now && mask[lane]) fail("a mask hides data that is read");
        if (dq_oe && driving) fail("both sides drive the data bus");
`ifdef VERILATOR
        dq_i <= drive_now ? out : {DATA_BITS / 8{8'ha5}};
        driving <= drive_now;
`else
        if (driving) dq_i <= #(T_OH / 1000.0) {DATA_BITS{1'bx}};
        if (drive_now) dq_i <= #((cas == 2 ? T_AC2 : T_AC3) / 1000.0) out;
        driving <= drive_now;
`endif
        coming = {coming[0], 1'b0};
        word[1] = word[0];
        mask = dm;
        if (since_mode != 255) since_mode = since_mode + 1;

        // A controller that was reset begins anew, and owes the chip all that it owes it after the power.
        if (mode_set && !cke) begin
            mode_set = 0; precharged_all = 0; init_refreshes = 0; refreshes = 0; powered = now;
            restarts = restarts + 1;
        end
        if (cke && command != NOP) begin
            if (now - powered < POWER_UP) fail("a command in the power-up wait");
            if (since_mode < T_MRD) fail("tMRD");
            case (command)
                ACTIVE: begin
                    if (!mode_set) fail("activate before the mode register");
                    if (open[ba]) fail("activate of an open bank");
                    least(precharged[ba], T_RP, "tRP before activate");
                    least(activated[ba], T_RC, "tRC");
                    least(any_activated, T_RRD, "tRRD");
                    least(refreshed, T_RFC, "tRFC before activate");
                    open[ba] = 1;
                    row[ba] = a;
                    activated[ba] = now;
                    any_activated = now;
                    activates = activates + 1;
                end
                READ, WRITE: begin
                    if (!open[ba]) fail("column command to a closed bank");
                    least(activated[ba], T_RCD, "tRCD");
                    place = {row[ba], ba, a[COLUMN_BITS-1:0]};
                    if (command == READ) begin
                        if (dq_oe) fail("the controller drives while it reads");
                        coming[0] = 1;
                        word[0] = memory[place];
                        reads = reads + 1;
                    end else begin
                        if (!dq_oe) fail("a write without data");
                        for (lane = 0; lane < DATA_BITS / 8; lane = lane + 1)
                            if (!dm[lane]) begin
                                if (^dq_o[8*lane +: 8] === 1'bx) fail("X is written");
                                memory[place][8*lane +: 8] = dq_o[8*lane +: 8];
                            end
                        written[ba] = now;
                        writes = writes + 1;
                    end
                    // Auto precharge begins as soon as it may.
                    if (a[10]) begin
                        open[ba] = 0;
                        precharged[ba] = command == READ ? now : now + T_WR;
                        if (precharged[ba] < activated[ba] + T_RAS) precharged[ba] = activated[ba] + T_RAS;
                    end
                end
                PRECHARGE: begin
                    for (bank = 0; bank < BANKS; bank = bank + 1)
                        if (a[10] || ba == bank) begin
                            if (open[bank]) begin
                                least(activated[bank], T_RAS, "tRAS");
                                least(written[bank], T_WR, "tWR");
                                precharged[bank] = now;
                            end
                            open[bank] = 0;
                        end
                    if (a[10]) precharged_all = 1;
                end
                REFRESH: begin
                    if (!precharged_all) fail("refresh before precharge");
                    if (open != 0) fail("refresh while a bank is open");
                    for (bank = 0; bank < BANKS; bank = bank + 1) begin
                        least(precharged[bank], T_RP, "tRP before refresh");
                        least(activated[bank], T_RC, "tRC before refresh");
                    end
                    least(refreshed, T_RFC, "tRFC before refresh");
                    refreshed = now;
                    if (mode_set) refreshes = refreshes + 1;
                    else if (init_refreshes != 255) init_refreshes = init_refreshes + 1;
                end
                MODE: begin
                    if (open != 0) fail("mode register while a bank is open");
                    if (!precharged_all) fail("mode register before precharge");
                    if (init_refreshes < REFRESHES) fail("too few refreshes before the mode register");
                    least(refreshed, T_RFC, "tRFC before the mode register");
                    if (ba != 0 || a[ROW_BITS-1:7] != 0) fail("reserved bits of the mode register");
                    if (a[3:0] != 0) fail("burst length is not 1: this model knows no other");
                    if (a[6:4] != 2 && a[6:4] != 3) fail("CAS latency is neither 2 nor 3");
                    cas = a[6:4];
                    since_mode = 0;
                    if (!mode_set) begin
                        refreshed = now;
                        first_refresh = now;
                    end
                    mode_set = 1;
                end
                default: fail("a command that this model does not know");
            endcase
        end
        // As many refreshes as time asks for, or a few less: they wait for an open row.
        if (mode_set && (now - first_refresh) > (64'd0 + refreshes + T_REFRESH_LATE) * T_REFI) begin
            fail("refreshes are late");
            first_refresh = now - refreshes * T_REFI;
        end
    end
endmodule
