// A DDR3 SDRAM as its standard describes it (JEDEC JESD79-3): stores data and refuses what that forbids.
//
// Bursts of 8 in order, auto precharge, masks, refresh; no chip select, no reset pin. Every violation is printed and
// counted in `errors`. Time on the data lines is cut into halves of a clock: data and strobes change with the clock's
// edges, and of what is read each byte lane arrives FLIGHT halves later (four bits a lane), as on a board whose lines
// are that long. Parameters are picoseconds unless they are bits, clocks (N_) or counts.

module olivine_ddr3 #(
    parameter ROW_BITS = 15, COLUMN_BITS = 10, BANK_BITS = 3, DATA_BITS = 16,
    parameter T_RCD = 13750, T_RP = 13750, T_RAS = 35000, T_RFC = 260000, T_RRD = 7500, T_FAW = 40000, T_WR = 15000,
    parameter T_WTR = 7500, T_REFI = 7812500, T_XPR = 270000, POWER_UP = 200000000, RESET_TO_CKE = 500000000,
    parameter N_RRD = 4, N_WTR = 4, N_CCD = 4, N_MRD = 4, N_MOD = 12, N_DLLK = 512, N_ZQINIT = 512,
    parameter T_REFRESH_LATE = 2, FLIGHT = 8'h22
) (
    input clk, cke, odt, ras_n, cas_n, we_n,
    input [ROW_BITS-1:0] a,
    input [BANK_BITS-1:0] ba,
    input [DATA_BITS/8-1:0] dm, dqs_o, dqs_oe,
    input [DATA_BITS-1:0] dq_o, dq_oe,
    output [DATA_BITS-1:0] dq_i,
    output [DATA_BITS/8-1:0] dqs_i,
    output reg [31:0] errors, restarts, refreshes, activates, reads, writes
);
    localparam BANKS = 1 << BANK_BITS, LANES = DATA_BITS / 8, AHEAD = 16;
    localparam PLACE = ROW_BITS + COLUMN_BITS + BANK_BITS;
    reg [DATA_BITS-1:0] memory [0:(1 << PLACE) - 1];

    // 64 bits of picoseconds and of clocks. What never happened happened long ago: both start at an offset.
    reg [63:0] now, clock, clock_at, powered, enabled;    // clock_at: when the edge before was

    reg [BANKS-1:0] open;
    reg [ROW_BITS-1:0] row [0:BANKS-1];
    reg [63:0] activated [0:BANKS-1], precharged [0:BANKS-1], written [0:BANKS-1];
    reg [63:0] activations [0:3];       // the last four of any bank, the latest first
    reg [63:0] activation_clock, column_clock, write_end, write_end_clock, refreshed, first_refresh;
    reg [63:0] mode_clock, dll_clock, calibration_clock;
    reg [3:0] modes;                    // registers that were set
    reg calibrated, was_enabled, ready;
    reg [4:0] cas, cas_write;

    // Bursts that are to come: bit i begins in i clocks.
    reg [AHEAD-1:0] read_at, write_at;
    reg [PLACE-1:0] read_place [0:AHEAD-1], write_place [0:AHEAD-1];
    reg [3:0] read_left, write_left;
    reg [PLACE-1:0] read_next, write_next;
    reg [DATA_BITS-1:0] dq;
    reg [LANES-1:0] dqs;

    wire [2:0] command = {ras_n, cas_n, we_n};
    localparam NOP = 3'b111, ACTIVE = 3'b011, READ = 3'b101, WRITE = 3'b100, PRECHARGE = 3'b010, REFRESH = 3'b001,
        MODE = 3'b000, CALIBRATE = 3'b110;

    // Data changes with the clock, and is looked at when it has come through all gates on its way, which takes no time.
    reg edge_0, edge_1, edge_2;
    initial begin edge_0 = 0; edge_1 = 0; edge_2 = 0; end
    always @(clk) edge_0 <= clk;
    always @(edge_0) edge_1 <= edge_0;
    always @(edge_1) edge_2 <= edge_1;

    integer bank, lane, i;
    reg [PLACE-1:0] place;

    task fail(input [8*56:1] what);
        begin
            errors = errors + 1;
            if (errors <= 20) $display("DDR3, %0d ps: %0s", now, what);
        end
    endtask

    // Limits: so much time, or so many clocks, since then, which may lie ahead (an auto precharge).
    task least(input [63:0] since, input [63:0] limit, input [8*56:1] what);
        if (now < since + limit) fail(what);
    endtask
    task fewest(input [63:0] since, input [63:0] limit, input [8*56:1] what);
        if (clock < since + limit) fail(what);
    endtask

    initial begin
        errors = 0; restarts = 0; refreshes = 0; activates = 0; reads = 0; writes = 0;
        now = 0; clock = 1000000; clock_at = 0; powered = 0; enabled = 0; open = 0; modes = 0; calibrated = 0; was_enabled = 0;
        ready = 0; cas = 0; cas_write = 0; read_at = 0; write_at = 0; read_left = 0; write_left = 0; dq = 0; dqs = 0;
        activation_clock = 0; column_clock = 0; write_end = 0; write_end_clock = 0; refreshed = 0; first_refresh = 0;
        mode_clock = 0; dll_clock = 0; calibration_clock = 0; read_next = 0; write_next = 0;
        for (bank = 0; bank < BANKS; bank = bank + 1) begin
            activated[bank] = 0; precharged[bank] = 0; written[bank] = 0; row[bank] = 0;
        end
        for (i = 0; i < 4; i = i + 1) activations[i] = 0;
    end

    function [63:0] picoseconds(input dummy);
        picoseconds = $realtime * 1000.0 + 1000000000.0;
    endfunction

    // --- A beat, with each edge of the clock ------------------------------------------------------------------------
    task beat(input level);
        begin
            if (read_left != 0) begin
                if (dq_oe != 0 || dqs_oe != 0) fail("both sides drive the data lines");
                dq <= memory[read_next];
                dqs <= {LANES{level}};
                read_next = read_next + 1;
                read_left = read_left - 1;
            end else begin
                dq <= {DATA_BITS / 8{8'ha5}};
                dqs <= 0;
            end
            // A controller that is reset in the midst of a write leaves it so.
            if (!cke) write_left = 0;
            if (write_left != 0) begin
                if (!(&dq_oe)) fail("a write without data");
                if (!(&dqs_oe) || dqs_o != {LANES{level}}) fail("a write's strobes are not with the clock");
                for (lane = 0; lane < LANES; lane = lane + 1)
                    if (!dm[lane]) begin
                        if (^dq_o[8*lane +: 8] === 1'bx) fail("X is written");
                        memory[write_next][8*lane +: 8] = dq_o[8*lane +: 8];
                    end
                write_next = write_next + 1;
                write_left = write_left - 1;
            end
        end
    endtask

    always @(negedge edge_2) begin
        now = picoseconds(0);
        beat(0);
    end

    always @(posedge edge_2) begin
        now = picoseconds(0);
        clock = clock + 1;
        if (powered == 0) powered = now;
        if (was_enabled && ^{cke, ras_n, cas_n, we_n} === 1'bx) fail("a command pin is X");
        for (i = 0; i < AHEAD - 1; i = i + 1) begin
            read_place[i] = read_place[i+1];
            write_place[i] = write_place[i+1];
        end
        read_at = read_at >> 1;
        write_at = write_at >> 1;

        if (cke && !was_enabled) begin
            least(powered, POWER_UP + RESET_TO_CKE, "the clock enable rises in the wait after the power");
            enabled = now;
        end
        // A controller that was reset begins anew, and what memory holds is not known.
        if (!cke && was_enabled) begin
            powered = now; modes = 0; calibrated = 0; ready = 0; refreshes = 0; read_at = 0; write_at = 0;
            restarts = restarts + 1;
        end
        was_enabled = cke;

        if (cke && command != NOP) begin
            least(enabled, T_XPR, "tXPR");
            least(refreshed, T_RFC, "tRFC");
            if (command == MODE) fewest(mode_clock, N_MRD, "tMRD");
            else fewest(mode_clock, N_MOD, "tMOD");
            if (calibrated) fewest(calibration_clock, N_ZQINIT, "tZQinit");
            case (command)
                ACTIVE: begin
                    if (!ready) fail("activate before the initialisation");
                    if (open[ba]) fail("activate of an open bank");
                    least(precharged[ba], T_RP, "tRP before activate");
                    least(activated[ba], T_RAS + T_RP, "tRC");
                    least(activations[0], T_RRD, "tRRD");
                    fewest(activation_clock, N_RRD, "tRRD in clocks");
                    least(activations[3], T_FAW, "tFAW");
                    open[ba] = 1;
                    row[ba] = a;
                    activated[ba] = now;
                    for (i = 3; i > 0; i = i - 1) activations[i] = activations[i-1];
                    activations[0] = now;
                    activation_clock = clock;
                    activates = activates + 1;
                end
                READ, WRITE: begin
                    if (!open[ba]) fail("column command to a closed bank");
                    least(activated[ba], T_RCD, "tRCD");
                    fewest(column_clock, N_CCD, "tCCD");
                    fewest(dll_clock, N_DLLK, "tDLLK");
                    if (a[2:0] != 0) fail("a burst does not begin with its first word: this model knows no other");
                    column_clock = clock;
                    place = {row[ba], ba, a[COLUMN_BITS-1:0]};
                    if (command == READ) begin
                        least(write_end, T_WTR, "tWTR");
                        fewest(write_end_clock, N_WTR, "tWTR in clocks");
                        read_at[cas] = 1;
                        read_place[cas] = place;
                        reads = reads + 1;
                    end else begin
                        write_at[cas_write] = 1;
                        write_place[cas_write] = place;
                        write_end_clock = clock + cas_write + 4;
                        write_end = now + (now - clock_at) * (cas_write + 4);
                        written[ba] = write_end;
                        writes = writes + 1;
                    end
                    // Auto precharge begins as soon as it may.
                    if (a[10]) begin
                        open[ba] = 0;
                        precharged[ba] = command == READ ? now + (now - clock_at) * 4 : write_end + T_WR;
                        if (precharged[ba] < activated[ba] + T_RAS) precharged[ba] = activated[ba] + T_RAS;
                    end
                end
                PRECHARGE:
                    for (bank = 0; bank < BANKS; bank = bank + 1)
                        if (a[10] || ba == bank) begin
                            if (open[bank]) begin
                                least(activated[bank], T_RAS, "tRAS");
                                least(written[bank], T_WR, "tWR");
                                precharged[bank] = now;
                            end
                            open[bank] = 0;
                        end
                REFRESH: begin
                    if (!ready) fail("refresh before the initialisation");
                    if (open != 0) fail("refresh while a bank is open");
                    for (bank = 0; bank < BANKS; bank = bank + 1) least(precharged[bank], T_RP, "tRP before refresh");
                    refreshed = now;
                    refreshes = refreshes + 1;
                end
                MODE: begin
                    if (open != 0) fail("mode register while a bank is open");
                    case (ba)
                        0: begin
                            if (a[1:0] != 0) fail("bursts are not of 8: this model knows no other");
                            if (a[2]) fail("CAS latency above 11: this model knows none");
                            cas = a[6:4] + 4;
                            if (!a[8]) fail("the DLL is not reset");
                            dll_clock = clock;
                            if (modes[3:1] != 7) fail("mode register 0 is not the last");
                        end
                        1: if (a[0]) fail("the DLL is off: this model knows it on");
                        2: cas_write = a[5:3] + 5;
                        3: if (a != 0) fail("mode register 3 is not 0");
                        default: fail("a mode register that there is not");
                    endcase
                    modes[ba[1:0]] = 1;
                    mode_clock = clock;
                end
                CALIBRATE:
                    if (a[10]) begin
                        if (modes != 15) fail("calibration before the mode registers");
                        calibrated = 1;
                        calibration_clock = clock;
                        if (!ready) begin
                            refreshed = now;
                            first_refresh = now;
                        end
                        ready = 1;
                    end
                default: fail("a command that this model does not know");
            endcase
        end
        clock_at = now;

        if (read_at[0]) begin
            if (read_left > 0) fail("reads overlap");
            read_left = 8;
            read_next = read_place[0];
        end
        if (write_at[0]) begin
            if (write_left > 0) fail("writes overlap");
            write_left = 8;
            write_next = write_place[0];
        end
        if (write_at[1] && !(&dqs_oe)) fail("a write without a preamble");
        beat(1);

        // As many refreshes as time asks for, or a few less: they wait for an open row.
        if (ready && (now - first_refresh) > (64'd0 + refreshes + T_REFRESH_LATE) * T_REFI) begin
            fail("refreshes are late");
            first_refresh = now - refreshes * T_REFI;
        end
    end

    // --- The way back -----------------------------------------------------------------------------------------------
    // On a simulator's command line, +flight=N is in the parameter's place.
    reg [4*LANES-1:0] flight_of;
    initial begin
        flight_of = FLIGHT;
        if ($value$plusargs("flight=%d", flight_of)) $display("DDR3: flight %h", flight_of);
    end

    genvar line;
    generate
        for (line = 0; line < LANES; line = line + 1) begin : lanes
            reg [9*16-1:0] flight;
            initial flight = 0;
            always @(posedge edge_2 or negedge edge_2) flight <= {flight[9*15-1:0], dqs[line], dq[8*line +: 8]};
            wire [9*17-1:0] taps = {flight, dqs[line], dq[8*line +: 8]};
            assign {dqs_i[line], dq_i[8*line +: 8]} = taps[9*flight_of[4*line +: 4] +: 9];
        end
    endgenerate
endmodule
