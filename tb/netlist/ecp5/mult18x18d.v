// MULT18X18D of Lattice ECP5, as far as Olivine uses it: a multiplier of 18 x 18 bits, signed or not, with registers at
// its inputs, inside, and at its output.
//
// After FPGA-TN-02205 (sysDSP usage guide). What is not modelled is refused, at time zero: clocks, enables and resets
// other than number 0, shift chains, the third operand, bypass. Registers start at 0, as configuration leaves them; the
// global reset is not modelled. A sign travels with its operand. A reset goes before the enable.

module olivine_mult_register #(parameter WIDTH = 1, parameter CLK = "NONE", parameter RESETMODE = "SYNC") (
    input clk, ce, rst, input [WIDTH-1:0] d, output [WIDTH-1:0] q
);
    generate
        if (CLK == "NONE")
            assign q = d;
        else begin
            reg [WIDTH-1:0] kept = 0;
            assign q = kept;
            if (RESETMODE == "ASYNC")
                always @(posedge clk, posedge rst)
                    if (rst) kept <= 0;
                    else if (ce) kept <= d;
            if (RESETMODE == "SYNC")
                always @(posedge clk)
                    if (rst) kept <= 0;
                    else if (ce) kept <= d;
        end
    endgenerate
endmodule

module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
    input SRIA17, SRIA16, SRIA15, SRIA14, SRIA13, SRIA12, SRIA11, SRIA10, SRIA9, SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0,
    input SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9, SRIB8, SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2, SRIB1, SRIB0,
    output SROA17, SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9, SROA8, SROA7, SROA6, SROA5, SROA4, SROA3, SROA2, SROA1, SROA0,
    output SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11, SROB10, SROB9, SROB8, SROB7, SROB6, SROB5, SROB4, SROB3, SROB2, SROB1, SROB0,
    output ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1, ROA0,
    output ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1, ROB0,
    output ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10, ROC9, ROC8, ROC7, ROC6, ROC5, ROC4, ROC3, ROC2, ROC1, ROC0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
    output SIGNEDP
);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE", REG_INPUTC_CE = "CE0", REG_INPUTC_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED", CLK1_DIV = "ENABLED", CLK2_DIV = "ENABLED", CLK3_DIV = "ENABLED";
    parameter HIGHSPEED_CLK = "NONE", GSR = "ENABLED", CAS_MATCH_REG = "FALSE", SOURCEB_MODE = "B_SHIFT";
    parameter MULT_BYPASS = "DISABLED", RESETMODE = "SYNC";

    localparam CLOCKS = (REG_INPUTA_CLK == "NONE" || REG_INPUTA_CLK == "CLK0")
        && (REG_INPUTB_CLK == "NONE" || REG_INPUTB_CLK == "CLK0") && REG_INPUTC_CLK == "NONE"
        && (REG_PIPELINE_CLK == "NONE" || REG_PIPELINE_CLK == "CLK0")
        && (REG_OUTPUT_CLK == "NONE" || REG_OUTPUT_CLK == "CLK0");
    localparam CONTROLS = REG_INPUTA_CE == "CE0" && REG_INPUTB_CE == "CE0" && REG_PIPELINE_CE == "CE0"
        && REG_OUTPUT_CE == "CE0" && REG_INPUTA_RST == "RST0" && REG_INPUTB_RST == "RST0"
        && REG_PIPELINE_RST == "RST0" && REG_OUTPUT_RST == "RST0";
    localparam OTHERS = CLK0_DIV == "ENABLED" && HIGHSPEED_CLK == "NONE" && CAS_MATCH_REG == "FALSE"
        && SOURCEB_MODE == "B_SHIFT" && MULT_BYPASS == "DISABLED" && (RESETMODE == "SYNC" || RESETMODE == "ASYNC");
    initial
        if (!(CLOCKS && CONTROLS && OTHERS))
            $fatal(1, "MULT18X18D: a parameter has a value that the model does not know");
    always @(SOURCEA, SOURCEB)
        if (SOURCEA === 1'b1 || SOURCEB === 1'b1)
            $fatal(1, "MULT18X18D: the model has no shift chains");

    wire [18:0] a, b;
    wire [35:0] inner;
    olivine_mult_register #(19, REG_INPUTA_CLK, RESETMODE) input_a (CLK0, CE0, RST0, {SIGNEDA,
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0}, a);
    olivine_mult_register #(19, REG_INPUTB_CLK, RESETMODE) input_b (CLK0, CE0, RST0, {SIGNEDB,
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0}, b);
    wire signed [35:0] wide_a = {{18{a[18] & a[17]}}, a[17:0]}, wide_b = {{18{b[18] & b[17]}}, b[17:0]};
    wire [35:0] product = wide_a * wide_b;
    olivine_mult_register #(36, REG_PIPELINE_CLK, RESETMODE) pipeline (CLK0, CE0, RST0, product, inner);
    olivine_mult_register #(36, REG_OUTPUT_CLK, RESETMODE) outcome (CLK0, CE0, RST0, inner, {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0});
endmodule
