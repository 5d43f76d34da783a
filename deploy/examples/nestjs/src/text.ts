import { BadRequestException } from "@nestjs/common";

/** A text of the body that is neither empty nor too long. */
export function text(value: unknown, name: string, longest: number): string {
  if (typeof value === "string" && value.trim() !== "" && value.length <= longest) return value;
  throw new BadRequestException(`${name} 格式不正确`);
}
