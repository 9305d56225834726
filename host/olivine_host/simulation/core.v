// Native test harness of the whole core: its registers, one AXI4 memory, and a host that says on standard input what
// to do. The same file runs on Verilator (main.cpp drives `clk`) and Icarus.
//
// Macros (from the build): OLIVINE_TOP the core's module, OLIVINE_ACTIVITY_BITS, and those of memory.vh.
//
// A line on standard input is a command; time stands still until it comes:
//
//     w ADDRESS DATA      write a register, both in hex            -> "response R"
//     r ADDRESS           read a register                          -> "value DATA R"
//     l FILE              $readmemh into the memory                -> "loaded"
//     d FILE FIRST LAST   $writememh of words, decimal             -> "dumped"
//     g HANG              run until the interrupt is high; give up after so many cycles without a transfer
//                                                                  -> "ended CYCLES" or "hang CYCLES"
//     c CYCLES            run for so many cycles                   -> "passed"
//     f N                 the N-th burst read from now on ends in SLVERR, -N the N-th written; 0 none -> "set"
//     s PERCENT           channels of the memory rest              -> "set"
//     m                   the bus says nothing any more; again: it answers            -> "set"
//     x                   reset                                    -> "reset"
//     t                   with +trace: a mark in `activity`        -> "set"
//     q                   quit                                     -> "done"
//
// Other lines on standard output: "progress CYCLES", "protocol WHAT". With +trace, `activity` holds a line for every
// change while a program runs.

`default_nettype none

`ifdef VERILATOR
module harness(input wire clk);
`else
`timescale 1ns / 1ns
module harness;
    reg clk = 0;
    always #5 clk = ~clk;
`endif

    `include "memory.vh"

    // The core.

    reg [11:0] s_araddr, s_awaddr;
    reg [31:0] s_wdata;
    reg s_arvalid, s_awvalid, s_wvalid;
    wire s_arready, s_awready, s_wready, s_rvalid, s_bvalid, irq;
    wire [31:0] s_rdata;
    wire [1:0] s_rresp, s_bresp;
    wire [`OLIVINE_ACTIVITY_BITS-1:0] activity;

    `OLIVINE_TOP core (
        .aclk(clk), .aresetn(aresetn),
        `OLIVINE_MEMORY_PORTS,
        .s_axil_araddr(s_araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(s_arvalid), .s_axil_arready(s_arready),
        .s_axil_rdata(s_rdata), .s_axil_rresp(s_rresp), .s_axil_rvalid(s_rvalid), .s_axil_rready(1'b1),
        .s_axil_awaddr(s_awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(s_awvalid), .s_axil_awready(s_awready),
        .s_axil_wdata(s_wdata), .s_axil_wstrb(4'hf), .s_axil_wvalid(s_wvalid), .s_axil_wready(s_wready),
        .s_axil_bresp(s_bresp), .s_axil_bvalid(s_bvalid), .s_axil_bready(1'b1),
        .irq(irq), .activity(activity)
    );

    localparam RESET = 0, COMMAND = 1, WRITE = 2, READ = 3, RUN = 4, PASS = 5;
    integer state = RESET, awake = 8, start = 0, quiet = 0, hang = 0, left = 0, scanned, first, last, percent;
    integer progress_cycles, trace, activity_file, muted = 0;
    integer stdin = 32'h8000_0000;
    reg [7:0] command;
    reg [255*8-1:0] name;
    reg [31:0] address, value;
    reg [`OLIVINE_ACTIVITY_BITS-1:0] last_activity = 0;

    initial begin
        if (!$value$plusargs("progress=%d", progress_cycles)) progress_cycles = 10000;
        trace = $test$plusargs("trace") != 0;
`ifdef OLIVINE_WAVES
        $dumpfile(`OLIVINE_WAVES);
        $dumpvars(0, core);
`endif
        if (trace != 0) activity_file = $fopen("activity", "w");
        s_arvalid = 0; s_awvalid = 0; s_wvalid = 0; s_araddr = 0; s_awaddr = 0; s_wdata = 0;
    end

    // Commands until one takes time.
    task obey;
        while (state == COMMAND) begin
            scanned = $fscanf(stdin, " %c", command);
            if (scanned != 1) command = "q";
            case (command)
                "w": begin
                    scanned = $fscanf(stdin, "%h %h", address, value);
                    s_awaddr <= address[11:0];
                    s_wdata <= value;
                    s_awvalid <= 1;
                    s_wvalid <= 1;
                    state = WRITE;
                end
                "r": begin
                    scanned = $fscanf(stdin, "%h", address);
                    s_araddr <= address[11:0];
                    s_arvalid <= 1;
                    state = READ;
                end
                "l": begin
                    scanned = $fscanf(stdin, "%s", name);
                    $readmemh(name, memory);
                    $display("loaded");
                end
                "d": begin
                    scanned = $fscanf(stdin, "%s %d %d", name, first, last);
                    $writememh(name, memory, first, last);
                    $display("dumped");
                end
                "g": begin
                    scanned = $fscanf(stdin, "%d", hang);
                    start = cycle;
                    quiet = 0;
                    state = RUN;
                end
                "c": begin
                    scanned = $fscanf(stdin, "%d", left);
                    state = PASS;
                end
                "f": begin
                    scanned = $fscanf(stdin, "%d", fault);
                    failing = fault != 0;
                    $display("set");
                end
                "s": begin
                    scanned = $fscanf(stdin, "%d", percent);
                    stall = percent;
                    if (stall == 0) wake;
                    $display("set");
                end
                "m": begin
                    muted = !muted;
                    $display("set");
                end
                "t": begin
                    if (trace != 0) $fdisplay(activity_file, "mark %0d", cycle);
                    $display("set");
                end
                "x": begin
                    aresetn <= 0;
                    read_head = read_tail; write_head = write_tail; data_head = data_tail;
                    response_head = response_tail;
                    read_beat = 0; write_beat = 0; write_outside = 0;
                    rvalid <= 0; bvalid <= 0; arready <= 0; awready <= 0; wready <= 0;
                    s_arvalid <= 0; s_awvalid <= 0; s_wvalid <= 0;
                    awake = 8;
                    state = RESET;
                end
                default: begin
                    $display("done");
                    if (trace != 0) $fclose(activity_file);
                    $fflush;
                    $finish;
                    state = PASS;
                    left = 1000000;
                end
            endcase
            $fflush;
        end
    endtask

    task watch;
        begin
            quiet = (arvalid & arready) | (rvalid & rready) | (awvalid & awready) | (wvalid & wready)
                  | (bvalid & bready) ? 0 : quiet + 1;
            if (irq) begin
                $display("ended %0d", cycle - start);
                state = COMMAND;
            end else if (quiet > hang) begin
                $display("hang %0d", cycle - start);
                state = COMMAND;
            end else if (progress_cycles != 0 && cycle != start && (cycle - start) % progress_cycles == 0) begin
                $display("progress %0d", cycle - start);
                $fflush;
            end
        end
    endtask

    always @(posedge clk) begin
        if (aresetn && muted == 0) serve;
        if (muted != 0) begin
            // What was offered stays offered; nothing is taken.
            if (rready) rvalid <= 0;
            if (bready) bvalid <= 0;
            arready <= 0; awready <= 0; wready <= 0;
            accept;
        end else if (aresetn && stall == 0) wake;
        if (s_awvalid & s_awready) s_awvalid <= 0;
        if (s_wvalid & s_wready) s_wvalid <= 0;
        if (s_arvalid & s_arready) s_arvalid <= 0;
        if (trace != 0 && activity !== last_activity) begin
            $fdisplay(activity_file, "%0d %h", cycle, activity);
            last_activity = activity;
        end
        case (state)
            RESET: begin
                awake = awake - 1;
                if (awake == 0) begin
                    wake;
                    state = COMMAND;
                    $display("reset");
                    $fflush;
                end
            end
            WRITE: if (s_bvalid) begin
                $display("response %0d", s_bresp);
                state = COMMAND;
            end
            READ: if (s_rvalid) begin
                $display("value %h %0d", s_rdata, s_rresp);
                state = COMMAND;
            end
            RUN: watch;
            PASS: begin
                left = left - 1;
                if (left <= 0) begin
                    $display("passed");
                    state = COMMAND;
                end
            end
            default: ;
        endcase
        if (state == COMMAND) begin
            $fflush;
            obey;
        end
        cycle = cycle + 1;
    end
endmodule
