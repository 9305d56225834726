// Native test harness: one engine, one AXI4 memory, a queue of jobs. No testbench code runs in between,
// so it is as fast as the simulator. The same file runs on Verilator (main.cpp drives `clk`) and Icarus.
//
// The memory is the one that benchmarks are measured against: one beat a cycle each way, `read_latency`
// cycles from an address to its first beat, `write_latency` cycles from a burst's last beat to its
// response, any number of bursts in flight, ready always high. Addresses past its end answer DECERR. It
// also refuses what AXI4 forbids: bursts that are not INCR of full beats, or cross 4 KiB, and a WLAST
// in the wrong place.
//
// Macros (from the build): OLIVINE_TOP the engine's module, OLIVINE_BUS_BITS, OLIVINE_ADDR_BITS,
// OLIVINE_ID_BITS, OLIVINE_JOB_BITS, OLIVINE_DONE_BITS, OLIVINE_WINDOW_BITS, OLIVINE_ACTIVITY_BITS,
// OLIVINE_MEMORY_WORDS.
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

    localparam BYTES = `OLIVINE_BUS_BITS / 8;
    localparam OFFSET = $clog2(BYTES);
    localparam WORDS = `OLIVINE_MEMORY_WORDS;
    localparam QUEUE = 1024;

    reg [`OLIVINE_BUS_BITS-1:0] memory [0:WORDS-1];

    integer cycle = 0;

    // Options.

    reg [`OLIVINE_WINDOW_BITS-1:0] windows;
    reg [23:0] bus_timeout;
    integer read_latency, write_latency, progress_cycles, hang_cycles, trace, stall;

    // The engine.

    reg aresetn;
    wire [`OLIVINE_ID_BITS-1:0] arid, awid;
    wire [`OLIVINE_ADDR_BITS-1:0] araddr, awaddr;
    wire [7:0] arlen, awlen;
    wire [2:0] arsize, awsize, arprot, awprot;
    wire [1:0] arburst, awburst;
    wire [3:0] arcache, awcache;
    wire arlock, awlock, arvalid, awvalid, wvalid, wlast, rready, bready;
    wire [`OLIVINE_BUS_BITS-1:0] wdata;
    wire [BYTES-1:0] wstrb;
    reg arready, awready, wready;
    reg [`OLIVINE_ID_BITS-1:0] rid, bid;
    reg [`OLIVINE_BUS_BITS-1:0] rdata;
    reg [1:0] rresp, bresp;
    reg rlast, rvalid, bvalid;
    reg [`OLIVINE_JOB_BITS-1:0] job_payload;
    reg job_valid, done_ready;
    wire job_ready, done_valid;
    wire [`OLIVINE_DONE_BITS-1:0] done_payload;
    wire [`OLIVINE_ACTIVITY_BITS-1:0] activity;

    `OLIVINE_TOP engine (
        .aclk(clk), .aresetn(aresetn),
        .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize),
        .m_axi_arburst(arburst), .m_axi_arlock(arlock), .m_axi_arcache(arcache), .m_axi_arprot(arprot),
        .m_axi_arvalid(arvalid), .m_axi_arready(arready),
        .m_axi_rid(rid), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast),
        .m_axi_rvalid(rvalid), .m_axi_rready(rready),
        .m_axi_awid(awid), .m_axi_awaddr(awaddr), .m_axi_awlen(awlen), .m_axi_awsize(awsize),
        .m_axi_awburst(awburst), .m_axi_awlock(awlock), .m_axi_awcache(awcache), .m_axi_awprot(awprot),
        .m_axi_awvalid(awvalid), .m_axi_awready(awready),
        .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast),
        .m_axi_wvalid(wvalid), .m_axi_wready(wready),
        .m_axi_bid(bid), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready),
        .job_payload(job_payload), .job_valid(job_valid), .job_ready(job_ready),
        .done_payload(done_payload), .done_valid(done_valid), .done_ready(done_ready),
        .windows(windows), .bus_timeout(bus_timeout), .activity(activity)
    );

    // The memory's queues: bursts to read, bursts and beats to write, responses to give. The times are
    // the cycles in which the address or the last beat was taken.

    reg [`OLIVINE_ADDR_BITS-1:0] read_addr [0:QUEUE-1];
    reg [7:0] read_len [0:QUEUE-1];
    reg [`OLIVINE_ID_BITS-1:0] read_id [0:QUEUE-1];
    reg read_fails [0:QUEUE-1];
    integer read_time [0:QUEUE-1];
    integer read_head = 0, read_tail = 0, read_beat = 0;

    reg [`OLIVINE_ADDR_BITS-1:0] write_addr [0:QUEUE-1];
    reg [7:0] write_len [0:QUEUE-1];
    reg [`OLIVINE_ID_BITS-1:0] write_id [0:QUEUE-1];
    reg write_fails [0:QUEUE-1];
    integer write_head = 0, write_tail = 0, write_beat = 0;
    reg write_outside = 0;

    reg [`OLIVINE_BUS_BITS-1:0] data_word [0:QUEUE-1];
    reg [BYTES-1:0] data_strb [0:QUEUE-1];
    reg data_last [0:QUEUE-1];
    integer data_head = 0, data_tail = 0;

    reg [`OLIVINE_ID_BITS-1:0] response_id [0:QUEUE-1];
    reg [1:0] response_resp [0:QUEUE-1];
    integer response_time [0:QUEUE-1];
    integer response_head = 0, response_tail = 0;

    integer lane;
    // Bursts to go until one fails, and whether one still will.
    integer fault = 0;
    reg failing = 0;
    reg [63:0] word;
    reg [`OLIVINE_BUS_BITS-1:0] merged;

    // Whether a channel rests in this cycle, with a chance of `stall` in 100.
    function stalls(input unused);
        stalls = stall != 0 && $urandom % 100 < stall;
    endfunction

    task protocol(input [64*8-1:0] what);
        begin
            $display("protocol %0s", what);
            $fflush;
            $finish;
        end
    endtask

    task check_burst(input [`OLIVINE_ADDR_BITS-1:0] addr, input [7:0] len, input [2:0] size, input [1:0] burst);
        begin
            if (burst !== 2'b01) protocol("a burst is not INCR");
            if (size !== OFFSET) protocol("a beat is narrower or wider than the bus");
            if ((addr[11:0] >> OFFSET) + len >= 4096 / BYTES) protocol("a burst crosses 4 KiB");
        end
    endtask

    task accept;
        begin
            if (arvalid & arready) begin
                check_burst(araddr, arlen, arsize, arburst);
                read_addr[read_tail] = araddr >> OFFSET;
                read_len[read_tail] = arlen;
                read_id[read_tail] = arid;
                read_time[read_tail] = cycle;
                fault = fault > 0 ? fault - 1 : fault;
                read_fails[read_tail] = fault == 0 && failing;
                failing = failing && fault != 0;
                read_tail = (read_tail + 1) % QUEUE;
                if (read_tail == read_head) protocol("more reads outstanding than the memory model holds");
            end
            if (awvalid & awready) begin
                check_burst(awaddr, awlen, awsize, awburst);
                write_addr[write_tail] = awaddr >> OFFSET;
                write_len[write_tail] = awlen;
                write_id[write_tail] = awid;
                fault = fault < 0 ? fault + 1 : fault;
                write_fails[write_tail] = fault == 0 && failing;
                failing = failing && fault != 0;
                write_tail = (write_tail + 1) % QUEUE;
                if (write_tail == write_head) protocol("more writes outstanding than the memory model holds");
            end
            if (wvalid & wready) begin
                data_word[data_tail] = wdata;
                data_strb[data_tail] = wstrb;
                data_last[data_tail] = wlast;
                data_tail = (data_tail + 1) % QUEUE;
                if (data_tail == data_head) protocol("more beats ahead of their address than the memory model holds");
            end
        end
    endtask

    task store;
        while (write_head != write_tail && data_head != data_tail) begin
            word = write_addr[write_head] + write_beat;
            if (word >= WORDS) write_outside = 1;
            else begin
                merged = memory[word];
                for (lane = 0; lane < BYTES; lane = lane + 1)
                    if (data_strb[data_head][lane]) merged[8*lane +: 8] = data_word[data_head][8*lane +: 8];
                memory[word] = merged;
            end
            if (data_last[data_head] !== (write_beat == write_len[write_head])) protocol("WLAST is in the wrong beat");
            if (data_last[data_head]) begin
                response_id[response_tail] = write_id[write_head];
                response_resp[response_tail] = write_outside ? 2'b11 : write_fails[write_head] ? 2'b10 : 2'b00;
                response_time[response_tail] = cycle;
                response_tail = (response_tail + 1) % QUEUE;
                if (response_tail == response_head) protocol("more responses waiting than the memory model holds");
                write_head = (write_head + 1) % QUEUE;
                write_beat = 0;
                write_outside = 0;
            end else write_beat = write_beat + 1;
            data_head = (data_head + 1) % QUEUE;
        end
    endtask

    // What is given at the end of this cycle is seen in the next one: latency is counted from the cycle
    // of the one transfer to that of the other.

    task answer;
        begin
            if (!rvalid | rready) begin
                rvalid <= 0;
                if (read_head != read_tail && cycle + 1 >= read_time[read_head] + read_latency && !stalls(0)) begin
                    word = read_addr[read_head] + read_beat;
                    rvalid <= 1;
                    rid <= read_id[read_head];
                    rlast <= read_beat == read_len[read_head];
                    if (word >= WORDS) begin
                        rdata <= 0;
                        rresp <= 2'b11;
                    end else begin
                        rdata <= memory[word];
                        rresp <= read_fails[read_head] ? 2'b10 : 2'b00;
                    end
                    if (read_beat == read_len[read_head]) begin
                        read_head = (read_head + 1) % QUEUE;
                        read_beat = 0;
                    end else read_beat = read_beat + 1;
                end
            end
            if (!bvalid | bready) begin
                bvalid <= 0;
                if (response_head != response_tail && cycle + 1 >= response_time[response_head] + write_latency
                        && !stalls(0)) begin
                    bvalid <= 1;
                    bid <= response_id[response_head];
                    bresp <= response_resp[response_head];
                    response_head = (response_head + 1) % QUEUE;
                end
            end
        end
    endtask

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
        if (!$value$plusargs("read_latency=%d", read_latency)) read_latency = 30;
        if (!$value$plusargs("write_latency=%d", write_latency)) write_latency = 30;
        if (!$value$plusargs("progress=%d", progress_cycles)) progress_cycles = 10000;
        if (!$value$plusargs("hang=%d", hang_cycles)) hang_cycles = 150000;
        if (!$value$plusargs("stall=%d", stall)) stall = 0;
        trace = $test$plusargs("trace") != 0;
`ifdef OLIVINE_WAVES
        $dumpfile(`OLIVINE_WAVES);
        $dumpvars(0, engine);
`endif
        jobs_file = $fopen("jobs", "r");
        results_file = $fopen("results", "w");
        if (trace != 0) activity_file = $fopen("activity", "w");
        aresetn = 0;
        arready = 0; awready = 0; wready = 0; rvalid = 0; bvalid = 0;
        rid = 0; rdata = 0; rresp = 0; rlast = 0; bid = 0; bresp = 0;
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
        if (stall != 0 && aresetn) begin
            arready <= !stalls(0);
            awready <= !stalls(0);
            wready <= !stalls(0);
        end
        accept;
        store;
        answer;
        case (state)
            RESET: if (cycle == 8) begin
                aresetn <= 1;
                arready <= 1;
                awready <= 1;
                wready <= 1;
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
