// The shape of every answer, as the mini program knows it: {code, message, data, timestamp}. Nothing here is about menshen.

import { ArgumentsHost, CallHandler, Catch, ExceptionFilter, ExecutionContext, HttpException } from "@nestjs/common";
import { Injectable, Logger, NestInterceptor } from "@nestjs/common";
import type { Response } from "express";
import { STATUS_CODES } from "node:http";
import { map, Observable } from "rxjs";

@Injectable()
export class SuccessEnvelope implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    const wrap = (data: unknown) => ({ code: 200, message: "success", data: data ?? null, timestamp: new Date() });
    return next.handle().pipe(map(wrap));
  }
}

@Catch()
export class FailureEnvelope implements ExceptionFilter {
  private readonly logger = new Logger("failure");

  catch(fault: unknown, host: ArgumentsHost) {
    const known = fault instanceof HttpException;
    if (!known) this.logger.error(fault);
    const code = known ? fault.getStatus() : 500;
    const message = known ? fault.message : "服务器内部错误";
    const body = { code, message, error: STATUS_CODES[code], timestamp: new Date() };
    host.switchToHttp().getResponse<Response>().status(code).json(body);
  }
}
