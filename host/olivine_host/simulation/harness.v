// Native test harness: one engine, one AXI4 memory, a queue of jobs. No testbench code runs in between,
// so it is as fast as the simulator. The same file runs on Verilator (main.cpp drives `clk`) and Icarus.
//
// Macros (from the build): OLIVINE_TOP the engine's module, OLIVINE_JOB_BITS, OLIVINE_DONE_BITS, OLIVINE_WINDOW_BITS,
// OLIVINE_ACTIVITY_BITS, and those of memory.vh.
//
// Files in the working directory: `jobs` (a line each: descriptor in hex, first and last word to read
// back, 1 if it is offered at once and not after the status of the one before, and what fails: n the n-th burst that is
// read from its acceptance on, -n the n-th that is written, 0 none), `load_<job>.hex` for $readmemh before the job; written are `results` (a line each: status in hex, cycles from acceptance to status, cycle of acceptance),
// `out_<job>.hex` by $writememh, and with +trace `activity`.
//
// Lines on standard output: "progress <job> <cycles>", "hang <job> <cycles>", "protocol <what>", "done".

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

    // Options.

    reg [`OLIVINE_WINDOW_BITS-1:0] windows;
    reg [23:0] bus_timeout;
    integer progress_cycles, hang_cycles, trace;

    // The engine.

    reg [`OLIVINE_JOB_BITS-1:0] job_payload;
    reg job_valid, done_ready;
    wire job_ready, done_valid;
    wire [`OLIVINE_DONE_BITS-1:0] done_payload;
    wire [`OLIVINE_ACTIVITY_BITS-1:0] activity;

    `OLIVINE_TOP engine (
        .aclk(clk), .aresetn(aresetn),
        `OLIVINE_MEMORY_PORTS,
        .job_payload(job_payload), .job_valid(job_valid), .job_ready(job_ready),
        .done_payload(done_payload), .done_valid(done_valid), .done_ready(done_ready),
        .windows(windows), .bus_timeout(bus_timeout), .activity(activity)
    );

    // The jobs, one after the other: load, offer, wait, read back.

    // Jobs accepted and jobs reported; of those between, at most FLIGHT, where they began and what is read back.
    localparam FLIGHT = 8;
    localparam RESET = 0, NEXT = 1, HOLD = 2, OFFER = 3, LAST = 4;
    integer state = RESET, job = 0, reported = 0, start = 0, quiet = 0, scanned, joined, next_fault;
    integer jobs_file, results_file, activity_file, first_word, last_word;
    integer start_of [0:FLIGHT-1];
    integer first_of [0:FLIGHT-1];
    integer last_of [0:FLIGHT-1];
    reg [`OLIVINE_JOB_BITS-1:0] descriptor;
    reg [16*8-1:0] name;
    reg [`OLIVINE_ACTIVITY_BITS-1:0] last_activity;

    initial begin
        if (!$value$plusargs("windows=%h", windows)) windows = 0;
        if (!$value$plusargs("bus_timeout=%d", bus_timeout)) bus_timeout = 100000;
        if (!$value$plusargs("progress=%d", progress_cycles)) progress_cycles = 10000;
        if (!$value$plusargs("hang=%d", hang_cycles)) hang_cycles = 150000;
        trace = $test$plusargs("trace") != 0;
`ifdef OLIVINE_WAVES
        $dumpfile(`OLIVINE_WAVES);
        $dumpvars(0, engine);
`endif
        jobs_file = $fopen("jobs", "r");
        results_file = $fopen("results", "w");
        if (trace != 0) activity_file = $fopen("activity", "w");
        job_valid = 0; job_payload = 0; done_ready = 0;
    end

    task finish;
        begin
            $fclose(results_file);
            if (trace != 0) $fclose(activity_file);
            $fflush;
            $finish;
        end
    endtask

    task next;
        begin
            scanned = $fscanf(jobs_file, "%h %d %d %d %d\n", descriptor, first_word, last_word, joined, next_fault);
            state = scanned != 5 ? LAST : HOLD;
        end
    endtask

    task hold;
        if (job == reported || (joined != 0 && job - reported < FLIGHT)) begin
            $sformat(name, "load_%0d.hex", job);
            $readmemh(name, memory);
            first_of[job % FLIGHT] = first_word;
            last_of[job % FLIGHT] = last_word;
            job_payload <= descriptor;
            job_valid <= 1;
            state = OFFER;
            quiet = 0;
        end
    endtask

    task read_back;
        begin
            start = start_of[reported % FLIGHT];
            $fdisplay(results_file, "%h %0d %0d", done_payload, cycle - start, start);
            if (trace != 0) $fdisplay(activity_file, "end %0d", cycle - start);
            $sformat(name, "out_%0d.hex", reported);
            $writememh(name, memory, first_of[reported % FLIGHT], last_of[reported % FLIGHT]);
            $display("progress %0d %0d", reported, cycle - start);
            $fflush;
            reported = reported + 1;
        end
    endtask

    task watch;
        begin
            quiet = (arvalid & arready) | (rvalid & rready) | (awvalid & awready) | (wvalid & wready)
                  | (bvalid & bready) ? 0 : quiet + 1;
            if (quiet > hang_cycles) begin
                $display("hang %0d %0d", reported, cycle - start);
                finish;
            end
            if (progress_cycles != 0 && cycle != start && (cycle - start) % progress_cycles == 0) begin
                $display("progress %0d %0d", reported, cycle - start);
                $fflush;
            end
        end
    endtask

    always @(posedge clk) begin
        serve;
        case (state)
            RESET: if (cycle == 8) begin
                wake;
                done_ready <= 1;
                state = NEXT;
            end
            NEXT: next;
            HOLD: hold;
            OFFER: if (job_valid & job_ready) begin
                job_valid <= 0;
                start_of[job % FLIGHT] = cycle;
                fault = next_fault;
                failing = next_fault != 0;
                if (job == reported) start = cycle;
                if (trace != 0) $fdisplay(activity_file, "job %0d", job);
                job = job + 1;
                state = NEXT;
            end
            default: if (job == reported) begin
                $display("done");
                finish;
            end
        endcase
        if (state == OFFER || job != reported) watch;
        if (job != reported) begin
            if (trace != 0 && cycle != start && (cycle == start + 1 || activity !== last_activity)) begin
                $fdisplay(activity_file, "%0d %h", cycle - start, activity);
                last_activity = activity;
            end
            if (done_valid & done_ready) read_back;
        end
        cycle = cycle + 1;
    end
endmodule
